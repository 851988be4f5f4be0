import fc from 'fast-check';
import type { Script } from './mutation.ts';
import type { FuzzTarget } from './target.ts';

/** Most sequences between two looks at memory and descriptors; a run has ten at least. */
const partSequencesMax = 20_000;
/** How long a failure may be shrunk, ms. */
const shrinkMsMax = 120_000;

export interface CampaignOptions {
  readonly target: FuzzTarget;
  readonly sequences: number;
  readonly seed: number;
  /** Told after each part how many sequences were run. */
  readonly onProgress?: (done: number) => void;
}

/** What came of fuzzing one target. */
export interface CampaignResult {
  readonly target: string;
  readonly sequences: number;
  readonly seconds: number;
  /** What failed, with the seed and the shrunk sequence; empty: nothing. */
  readonly failures: readonly string[];
}

/** Runs a target on mutated traffic, all of it determined by the seed; ends early at the first failure. */
export async function runCampaign(options: CampaignOptions): Promise<CampaignResult> {
  const { target, sequences, seed, onProgress } = options;
  const from = performance.now();
  const failures: string[] = [];
  let done = 0;
  for (let part = 0; done < sequences && failures.length === 0; part++) {
    const wanted = Math.min(partSequencesMax, Math.ceil(sequences / 10), sequences - done);
    const { ran, failure } = await runPart(target, wanted, (seed + part * 7919) | 0);
    done += ran;
    if (failure !== null) failures.push(failure);
    else {
      await target
        .check(done >= sequences)
        .catch((error: unknown) => failures.push(`${target.name}: ${String(error)}`));
    }
    onProgress?.(done);
  }
  return { target: target.name, sequences: done, seconds: (performance.now() - from) / 1000, failures };
}

async function runPart(
  target: FuzzTarget,
  sequences: number,
  seed: number,
): Promise<{ ran: number; failure: string | null }> {
  const { batch } = target;
  let failed = false;
  let ran = 0;
  // What comes after the last sequence that was asked for is left out; shrinking is not cut short.
  const run = async (drawn: readonly Script[]): Promise<void> => {
    const scripts = failed ? drawn : drawn.slice(0, sequences - ran);
    if (scripts.length === 0) return;
    if (!failed) ran += scripts.length;
    try {
      await target.run(scripts);
    } catch (error) {
      failed = true;
      throw error;
    }
  };
  const parameters = { seed, interruptAfterTimeLimit: shrinkMsMax, numRuns: Math.ceil(sequences / batch) };
  // Lengths are even between the bounds: `batch` on average. Only a batch that may be short can be shrunk.
  const batches = fc.array(target.scripts, { minLength: 1, maxLength: 2 * batch - 1, size: 'max' });
  const details = target.synchronous
    ? fc.check(
        fc.property(target.scripts, (script) => {
          ran++;
          target.run([script]);
        }),
        parameters,
      )
    : await fc.check(
        fc.asyncProperty(batches, async (scripts) => run(scripts)),
        parameters,
      );
  if (!details.failed) return { ran, failure: null };
  const found = details.counterexample?.[0];
  const scripts: readonly Script[] =
    found === undefined ? [] : Array.isArray(found) ? found : [found as Script];
  return { ran, failure: told(target, seed, scripts, details.errorInstance) };
}

function told(target: FuzzTarget, seed: number, scripts: readonly Script[], error: unknown): string {
  const lines = scripts.flatMap((script) => [
    JSON.stringify(script),
    ...target.show(script).map((hex) => `  ${hex}`),
  ]);
  const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return [`${target.name} failed (seed ${seed}): ${what}`, ...lines].join('\n');
}
