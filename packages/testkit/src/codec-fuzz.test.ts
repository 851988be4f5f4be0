import { expect, it } from 'vitest';
import { runCampaign } from './fuzz/campaign.ts';
import { codecTargets, shared } from './fuzz/targets.ts';

/** Of the 100,000 of a test run; the others go to a whole server (`server-fuzz.test.ts`). More: `npm run fuzz`. */
const sequences = 85_000;
const seed = 20_261_124;

const targets = await codecTargets();
const shares = shared(sequences, targets);

it('all sequences are given to targets', () => {
  expect(shares.reduce((sum, share) => sum + share, 0)).toBe(sequences);
});

it.each(targets.map((target, index) => [target.name, target, shares[index]!] as const))(
  '%s: mutated valid traffic is read or refused, however it is cut, in bounded time and memory',
  async (_name, target, share) => {
    const result = await runCampaign({ target, sequences: share, seed });
    expect(result.failures.join('\n')).toBe('');
    expect(result.sequences).toBe(share);
  },
  120_000,
);
