import type { Sample } from './sample.ts';
import { floors, median, slopePerHour } from './trend.ts';
import type { Point } from './trend.ts';

/** One thing that a soak is to show. */
export interface Finding {
  readonly name: string;
  readonly held: boolean;
  readonly detail: string;
}

/** What is known at the end beside the samples. */
export interface SoakEnd {
  /** What was acknowledged and never delivered, in words. */
  readonly lost: readonly string[];
  /** What came twice and is promised once, in words. */
  readonly repeated: readonly string[];
  /** Clients that never got on. */
  readonly idle: readonly string[];
  /** What went wrong with a client or with the server, in words. */
  readonly errors: readonly string[];
}

/** The part of a soak in which caches fill and nothing is judged. */
const warmUpPart = 0.25;
const floorWindowMs = 60_000;
/** In less, caches still fill, and a trend would be theirs. */
const durationMsMin = 10 * 60_000;
/** Samples after the warm-up without which nothing can be said of a trend. */
const judgedMin = 12;
/** The parts of a soak, at the end of the warm-up and of all of it, in which the server is told to collect its garbage. */
const collectedPart = 0.05;
/** Samples for which each of the two parts has the time at least. */
const collectedSamples = 5;
/** Samples of each part without which nothing can be said of what is in use. */
const collectedMin = 2;

const tooFew = 'too few samples';

interface Trend {
  readonly name: string;
  readonly of: (sample: Sample) => number;
  /** What it may gain over the judged time: the larger one of an amount, in its unit, and a part of its median. */
  readonly free: number;
  readonly part: number;
  readonly unit: 'MiB' | '';
}

const MiB = 1024 * 1024;
const resident: Trend = {
  name: 'resident memory',
  of: (sample) => sample.residentBytes,
  free: 24 * MiB,
  part: 0.1,
  unit: 'MiB',
};
/** What memory in use may gain between the end of the warm-up and that of the soak: the larger one. */
const inUse = { name: 'memory in use', free: 6 * MiB, part: 0.05 };
const trends: readonly Trend[] = [
  { name: 'descriptors', of: (sample) => sample.descriptors, free: 10, part: 0.1, unit: '' },
  { name: 'resources of the event loop', of: (sample) => sample.resources, free: 10, part: 0.1, unit: '' },
  { name: 'timers', of: (sample) => sample.timers, free: 10, part: 0.1, unit: '' },
  { name: 'files of the log', of: (sample) => sample.walFiles, free: 1, part: 0.1, unit: '' },
  { name: 'bytes of the log', of: (sample) => sample.walBytes, free: 8 * MiB, part: 0.1, unit: 'MiB' },
  { name: 'segment files', of: (sample) => sample.segmentFiles, free: 20, part: 0.1, unit: '' },
  { name: 'bytes of segments', of: (sample) => sample.segmentBytes, free: 48 * MiB, part: 0.1, unit: 'MiB' },
  // Its log goes on in files of 4 MiB; a snapshot is due after two, which may take longer than the warm-up.
  { name: 'bytes of metadata', of: (sample) => sample.metadataBytes, free: 12 * MiB, part: 0.1, unit: 'MiB' },
];

/** Why a soak of such a length could not be judged, in words for its user; null if it can. */
export function tooShort(durationMs: number, sampleMs: number): string | null {
  if (durationMs < durationMsMin)
    return `--minutes is at least ${durationMsMin / 60_000}: caches fill for that long`;
  const samplesMin = judgedMin + collectedSamples;
  const everyMax = Math.floor((durationMs * (1 - warmUpPart)) / samplesMin / 1000);
  if (sampleMs <= everyMax * 1000) return null;
  return `--every is at most ${everyMax} for so many minutes: a trend needs ${samplesMin} samples after the warm-up`;
}

/** Whether the server is told at a sample to collect its garbage; resident memory is judged by the other samples alone. */
export function collects(atMs: number, durationMs: number, sampleMs: number): boolean {
  const partMs = Math.max(durationMs * collectedPart, sampleMs * collectedSamples);
  const warmMs = durationMs * warmUpPart;
  return (atMs >= warmMs - partMs && atMs < warmMs) || atMs >= durationMs - partMs;
}

/** Judges a soak: no trend upwards after the warm-up, nobody stuck, nothing lost, no error. */
export function judge(samples: readonly Sample[], { lost, repeated, idle, errors }: SoakEnd): Finding[] {
  const last = samples.at(-1);
  return [
    ...trendFindings(samples),
    finding('no client is stuck', [...new Set([...samples.flatMap(({ stuck }) => stuck), ...idle])]),
    finding('nothing is lost', lost),
    finding('nothing comes twice that should come once', repeated),
    finding('no errors', errors),
    {
      name: 'work is done',
      held: last !== undefined && last.acknowledged > 0 && last.delivered > 0,
      detail: `${last?.acknowledged ?? 0} acknowledged, ${last?.delivered ?? 0} delivered`,
    },
    {
      name: 'the event loop turns',
      held: median(samples.map(({ lagMs }) => lagMs)) < 1000,
      detail: `p99 of its delay: ${Math.round(median(samples.map(({ lagMs }) => lagMs)))} ms in the median sample`,
    },
  ];
}

/** Values that must not rise. Each needs enough samples: without, it does not hold. */
export function trendFindings(samples: readonly Sample[]): Finding[] {
  const endMs = samples.at(-1)?.atMs ?? 0;
  const judged = samples.filter(({ atMs }) => atMs >= endMs * warmUpPart);
  const untouched = judged.filter(({ liveBytes }) => liveBytes === null);
  return [
    trendFinding(resident, untouched),
    inUseFinding(samples, endMs / 2),
    ...trends.map((trend) => trendFinding(trend, judged)),
  ];
}

/** Compares the least that was in use at the two ends: what is on its way, and in caches that fill, comes and goes. */
function inUseFinding(samples: readonly Sample[], middleMs: number): Finding {
  const { name, free, part } = inUse;
  const before: number[] = [];
  const after: number[] = [];
  for (const { atMs, liveBytes } of samples) {
    if (liveBytes !== null) (atMs < middleMs ? before : after).push(liveBytes);
  }
  if (Math.min(before.length, after.length) < collectedMin) return { name, held: false, detail: tooFew };
  const [first, last] = [Math.min(...before), Math.min(...after)];
  const allowed = Math.max(free, first * part);
  const [from, to, most] = [first, last, allowed].map((bytes) => `${(bytes / MiB).toFixed(1)} MiB`);
  return { name, held: last - first <= allowed, detail: `${from}, at the end ${to}, may gain ${most}` };
}

function trendFinding({ name, of, free, part, unit }: Trend, judged: readonly Sample[]): Finding {
  if (judged.length < judgedMin) return { name, held: false, detail: tooFew };
  const points: Point[] = judged.map((sample) => ({ atMs: sample.atMs, value: of(sample) }));
  const spanMs = points.at(-1)!.atMs - points[0]!.atMs;
  const low = floors(points, Math.min(floorWindowMs, spanMs / judgedMin));
  const middle = median(points.map(({ value }) => value));
  const perHour = slopePerHour(low);
  const gained = (perHour * spanMs) / 3_600_000;
  const allowed = Math.max(free, middle * part);
  const told = (value: number): string =>
    unit === 'MiB' ? `${(value / MiB).toFixed(1)} MiB` : value.toFixed(1);
  return {
    name,
    held: gained <= allowed,
    detail: `median ${told(middle)}, ${told(perHour)} an hour, gained ${told(gained)} of at most ${told(allowed)}`,
  };
}

function finding(name: string, problems: readonly string[]): Finding {
  const shown = problems.slice(0, 5).join('; ');
  const more = problems.length > 5 ? `; ${problems.length - 5} more` : '';
  return { name, held: problems.length === 0, detail: problems.length === 0 ? '0' : `${shown}${more}` };
}
