import { describe, expect, it } from 'vitest';
import type { Sample } from './sample.ts';
import { floors, slopePerHour } from './trend.ts';
import { collects, judge, tooShort } from './verdict.ts';

const MiB = 1024 * 1024;
const calm = { lost: [], repeated: [], idle: [], errors: [] };

function collected(index: number): boolean {
  return collects(index * 10_000, 30 * 60_000, 10_000);
}

/** Samples of 30 minutes, one each 10 s; a saw tooth stands for the collector. */
function samples(change: (minute: number, index: number) => Partial<Sample> = () => ({})): Sample[] {
  return Array.from({ length: 180 }, (_, index) => ({
    atMs: index * 10_000,
    residentBytes: (200 + (index % 7) * 3) * MiB,
    liveBytes: collected(index) ? (70 + (index % 5) * 4) * MiB : null,
    heapBytes: (40 + (index % 5) * 4) * MiB,
    externalBytes: (30 + (index % 3) * 10) * MiB,
    descriptors: 100 + (index % 4) * 5,
    resources: 40 + (index % 3),
    timers: 20 + (index % 4),
    walFiles: 3,
    walBytes: 24 * MiB,
    segmentFiles: 150 + (index % 11) * 2,
    segmentBytes: 100 * MiB,
    metadataBytes: 8 * MiB,
    lagMs: 20,
    stuck: [],
    acknowledged: index * 100,
    delivered: index * 100,
    ...change(index / 6, index),
  }));
}

function failed(all: readonly Sample[], end: Parameters<typeof judge>[1] = calm): string[] {
  return judge(all, end)
    .filter(({ held }) => !held)
    .map(({ name }) => name);
}

describe('the verdict on a soak', () => {
  it('holds where everything goes up and down and nothing rises', () => {
    expect(failed(samples())).toEqual([]);
  });

  it('holds where something rises in the warm-up only', () => {
    const filling = (minute: number): Partial<Sample> => ({
      residentBytes: Math.min(220, 80 + minute * 25) * MiB,
    });
    expect(failed(samples(filling))).toEqual([]);
  });

  it('holds with outliers', () => {
    const outliers = (_minute: number, index: number): Partial<Sample> =>
      index % 29 === 0 ? { residentBytes: 900 * MiB, descriptors: 2000 } : {};
    expect(failed(samples(outliers))).toEqual([]);
  });

  it.each([
    ['resident memory', (minute: number) => ({ residentBytes: (200 + minute * 2) * MiB })],
    [
      'memory in use',
      (minute: number, index: number) => ({
        liveBytes: collected(index) ? (70 + minute * 0.4 + (index % 5) * 4) * MiB : null,
      }),
    ],
    ['descriptors', (minute: number) => ({ descriptors: 100 + Math.floor(minute) })],
    ['resources of the event loop', (minute: number) => ({ resources: 40 + Math.floor(minute) })],
    ['timers', (minute: number) => ({ timers: 20 + Math.floor(minute) })],
    ['files of the log', (minute: number) => ({ walFiles: 3 + Math.floor(minute / 8) })],
    ['bytes of the log', (minute: number) => ({ walBytes: (24 + minute) * MiB })],
    ['segment files', (minute: number) => ({ segmentFiles: 150 + Math.floor(minute * 3) })],
    ['bytes of segments', (minute: number) => ({ segmentBytes: (100 + minute * 3) * MiB })],
    ['bytes of metadata', (minute: number) => ({ metadataBytes: (8 + minute * 2) * MiB })],
    ['the event loop turns', () => ({ lagMs: 1500 })],
    ['work is done', () => ({ delivered: 0 })],
    ['no client is stuck', (minute: number) => ({ stuck: minute > 29 ? ['one'] : [] })],
  ] as [string, (minute: number, index: number) => Partial<Sample>][])(
    'fails for %s alone',
    (name, change) => {
      expect(failed(samples(change))).toEqual([name]);
    },
  );

  it('fails for what is lost, and for errors', () => {
    expect(failed(samples(), { ...calm, lost: ['reader was not given 5'] })).toEqual(['nothing is lost']);
    expect(failed(samples(), { ...calm, errors: ['refused'] })).toEqual(['no errors']);
  });

  it('fails for what comes twice, and for a client that never got on', () => {
    const twice = { ...calm, repeated: ['reader was given 5 twice'] };
    expect(failed(samples(), twice)).toEqual(['nothing comes twice that should come once']);
    expect(failed(samples(), { ...calm, idle: ['reader'] })).toEqual(['no client is stuck']);
  });

  it('says of a soak that is too short, or looks too seldom, what is the least', () => {
    expect(tooShort(30 * 60_000, 10_000)).toBeNull();
    expect(tooShort(60_000, 1000)).toContain('--minutes is at least 10');
    expect(tooShort(10 * 60_000, 27_000)).toContain('--every is at most 26');
    expect(tooShort(10 * 60_000, 26_000)).toBeNull();
  });

  it('has garbage collected at the end of the warm-up and of the run only', () => {
    const minutes = Array.from({ length: 181 }, (_, index) => index).filter(collected);
    expect([minutes.length, minutes[0], minutes[8], minutes[9], minutes.at(-1)]).toEqual([
      19, 36, 44, 171, 180,
    ]);
    for (const [durationMs, sampleMs] of [
      [10 * 60_000, 26_000],
      [20_000, 2000],
    ] as const) {
      const times = Array.from({ length: Math.floor(durationMs / sampleMs) }, (_, at) => (at + 1) * sampleMs);
      const told = times.filter((atMs) => collects(atMs, durationMs, sampleMs));
      expect(told.filter((atMs) => atMs < durationMs / 4).length).toBeGreaterThanOrEqual(2);
      expect(told.filter((atMs) => atMs > durationMs / 4).length).toBeGreaterThanOrEqual(3);
    }
  });

  it('judges resident memory by the samples before which nothing was collected', () => {
    const garbage = (minute: number, index: number): Partial<Sample> =>
      collected(index) ? { residentBytes: 100 * MiB } : { residentBytes: (200 + minute * 2) * MiB };
    expect(failed(samples(garbage))).toEqual(['resident memory']);
    const told = (_minute: number, index: number): Partial<Sample> =>
      collected(index) && index > 90 ? { residentBytes: 900 * MiB } : {};
    expect(failed(samples(told))).toEqual([]);
    expect(failed(samples(() => ({ liveBytes: 70 * MiB })))).toEqual(['resident memory']);
  });

  it('compares the least of what is in use at both ends', () => {
    const use =
      (gained: number) =>
      (minute: number, index: number): Partial<Sample> => ({
        liveBytes: collected(index) ? (70 + (minute > 15 ? gained : 0) + (index % 3) * 20) * MiB : null,
      });
    expect(failed(samples(use(5)))).toEqual([]);
    expect(failed(samples(use(7)))).toEqual(['memory in use']);
    const atTheEnd = (minute: number, index: number): Partial<Sample> =>
      minute < 15 && collected(index) ? { liveBytes: null } : {};
    expect(failed(samples(atTheEnd))).toEqual(['memory in use']);
  });

  it('does not hold without the samples for it', () => {
    expect(failed(samples().slice(0, 10))).toContain('resident memory');
    expect(failed([])).toContain('work is done');
  });
});

describe('a trend', () => {
  it('is the median of all slopes', () => {
    const points = [0, 1, 2, 3, 100, 5, 6].map((value, minute) => ({ atMs: minute * 60_000, value }));
    expect(slopePerHour(points)).toBeCloseTo(60);
    expect(slopePerHour([])).toBe(0);
  });

  it('of floors is that of the lowest point of each window', () => {
    const points = [5, 1, 9, 7, 2, 8].map((value, index) => ({ atMs: index * 10, value }));
    expect(floors(points, 30).map(({ value }) => value)).toEqual([1, 2]);
  });
});
