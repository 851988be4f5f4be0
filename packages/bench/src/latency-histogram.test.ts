import { describe, expect, it } from 'vitest';
import { LatencyHistogram } from './latency-histogram.ts';

describe('latency histogram', () => {
  it('gives percentiles within 4 % of the sorted truth', () => {
    const histogram = new LatencyHistogram();
    const values: number[] = [];
    // A multiplicative generator: spread over five decades, the same each time.
    let state = 1;
    for (let i = 0; i < 20_000; i++) {
      state = (state * 48_271) % 0x7fffffff;
      values.push(0.01 * 10 ** ((state / 0x7fffffff) * 5));
    }
    for (const value of values) histogram.record(value);
    values.sort((a, b) => a - b);
    const summary = histogram.summary(1);
    for (const [name, share] of [
      ['p50', 0.5],
      ['p99', 0.99],
      ['p999', 0.999],
    ] as const) {
      const truth = values[Math.ceil(values.length * share) - 1] as number;
      expect(Math.abs((summary?.[name] ?? 0) - truth) / truth, name).toBeLessThan(0.04);
    }
    expect([summary?.max, summary?.count]).toEqual([values.at(-1), values.length]);
  });

  it('never says more than the largest, and takes any duration', () => {
    const histogram = new LatencyHistogram();
    histogram.record(0.1);
    expect(histogram.summary(1)).toMatchObject({ p50: 0.1, p999: 0.1 });
    histogram.clear();
    expect(histogram.summary(1)).toBeUndefined();
    histogram.record(-1);
    histogram.record(1e12);
    expect(histogram.summary(0.5)).toMatchObject({ p50: 0, max: 1e12, rateReached: 0.5 });
  });
});
