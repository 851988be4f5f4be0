import { describe, expect, it } from 'vitest';
import type { Sample } from './sample.ts';
import { floors, slopePerHour } from './trend.ts';
import { judge, tooShort } from './verdict.ts';

const MiB = 1024 * 1024;
const calm = { lost: [], repeated: [], idle: [], errors: [] };

/** Samples of 30 minutes, one each 10 s; a saw tooth stands for the collector. */
function samples(change: (minute: number, index: number) => Partial<Sample> = () => ({})): Sample[] {
  return Array.from({ length: 180 }, (_, index) => ({
    atMs: index * 10_000,
    residentBytes: (200 + (index % 7) * 3) * MiB,
    liveBytes: (70 + (index % 5) * 4) * MiB,
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
      (minute: number, index: number) => ({ liveBytes: (70 + minute * 0.4 + (index % 5) * 4) * MiB }),
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
    expect(tooShort(10 * 60_000, 38_000)).toContain('--every is at most 37');
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
