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
  /** What went wrong with a client or with the server, in words. */
  readonly errors: readonly string[];
}

/** The part of a soak in which caches fill and nothing is judged. */
const warmUpPart = 0.25;
const floorWindowMs = 60_000;
/** How much of its median a value may gain over the judged time. */
const gainPartMax = 0.1;
/** Samples after the warm-up without which nothing can be said of a trend. */
const judgedMin = 12;

interface Trend {
  readonly name: string;
  readonly of: (sample: Sample) => number;
  /** A gain that is always allowed, in the unit of the value. */
  readonly free: number;
  readonly unit: 'MiB' | '';
}

const MiB = 1024 * 1024;
const trends: readonly Trend[] = [
  { name: 'resident memory', of: (sample) => sample.residentBytes, free: 24 * MiB, unit: 'MiB' },
  { name: 'heap', of: (sample) => sample.heapBytes, free: 8 * MiB, unit: 'MiB' },
  { name: 'external memory', of: (sample) => sample.externalBytes, free: 16 * MiB, unit: 'MiB' },
  { name: 'descriptors', of: (sample) => sample.descriptors, free: 10, unit: '' },
  { name: 'resources of the event loop', of: (sample) => sample.resources, free: 10, unit: '' },
  { name: 'files of the log', of: (sample) => sample.walFiles, free: 1, unit: '' },
  { name: 'bytes of the log', of: (sample) => sample.walBytes, free: 8 * MiB, unit: 'MiB' },
  { name: 'segment files', of: (sample) => sample.segmentFiles, free: 20, unit: '' },
];

/** Judges a soak: no trend upwards after the warm-up, nobody stuck, nothing lost, no error. */
export function judge(samples: readonly Sample[], { lost, errors }: SoakEnd): Finding[] {
  const last = samples.at(-1);
  return [
    ...trendFindings(samples),
    finding('no client is stuck', [...new Set(samples.flatMap(({ stuck }) => stuck))]),
    finding('nothing is lost', lost),
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

/** Values that must not rise. Each needs enough samples: a short soak says so and does not hold. */
export function trendFindings(samples: readonly Sample[]): Finding[] {
  const endMs = samples.at(-1)?.atMs ?? 0;
  const judged = samples.filter(({ atMs }) => atMs >= endMs * warmUpPart);
  return trends.map((trend) => {
    if (judged.length < judgedMin) return { name: trend.name, held: false, detail: 'too few samples' };
    return trendFinding(trend, judged);
  });
}

function trendFinding({ name, of, free, unit }: Trend, judged: readonly Sample[]): Finding {
  const points: Point[] = judged.map((sample) => ({ atMs: sample.atMs, value: of(sample) }));
  const spanMs = points.at(-1)!.atMs - points[0]!.atMs;
  const low = floors(points, Math.min(floorWindowMs, spanMs / judgedMin));
  const middle = median(points.map(({ value }) => value));
  const perHour = slopePerHour(low);
  const gained = (perHour * spanMs) / 3_600_000;
  const allowed = Math.max(free, middle * gainPartMax);
  const told = (value: number): string =>
    unit === 'MiB' ? `${(value / MiB).toFixed(1)} MiB` : value.toFixed(1);
  return {
    name,
    held: gained <= allowed,
    detail: `${told(middle)}, ${told(perHour)} an hour, gained ${told(gained)} of at most ${told(allowed)}`,
  };
}

function finding(name: string, problems: readonly string[]): Finding {
  const shown = problems.slice(0, 5).join('; ');
  const more = problems.length > 5 ? `; ${problems.length - 5} more` : '';
  return { name, held: problems.length === 0, detail: problems.length === 0 ? '0' : `${shown}${more}` };
}
