import { afterAll, expect, it } from 'vitest';
import { runCampaign } from './fuzz/campaign.ts';
import { serverTargets } from './fuzz/server-targets.ts';

/** With those of `codec-fuzz.test.ts` 100,000 in a test run. More: `npm run fuzz`. */
const sequences = 7500;
const seed = 20_261_124;

const targets = await serverTargets();

afterAll(async () => {
  // The last one ends the server, and fails if that has said anything of errors.
  for (const target of targets) await target.stop();
}, 60_000);

it.each(targets.map((target) => [target.name, target] as const))(
  '%s: mutated connections are closed, leave nothing behind, and do not keep a healthy client waiting',
  async (_name, target) => {
    const result = await runCampaign({ target, sequences, seed });
    expect(result.failures.join('\n')).toBe('');
    expect(result.sequences).toBe(sequences);
  },
  240_000,
);
