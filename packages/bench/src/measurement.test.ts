import { describe, expect, it } from 'vitest';
import type { LoadResult } from './job.ts';
import { fromLoad, isFloor, median, ratio } from './measurement.ts';
import { cpuSeconds, residentBytes, ticksOf } from './process-stat.ts';
import type { Row } from './rows/row.ts';

const messages: Row = {
  id: 'm',
  title: 'messages',
  set: 'bars',
  group: 'mqtt',
  protocol: 'mqtt',
  unit: 'messages',
  peers: [],
  bars: [],
  lossless: true,
  durable: false,
};
const megabytes: Row = { ...messages, id: 'b', title: 'bytes', unit: 'megabytes' };
const result: LoadResult = {
  seconds: 2,
  count: 400_000,
  bytes: 50_000_000,
  serverCpuSeconds: 1,
  generatorCpuSeconds: 0.5,
  expected: 10,
  arrived: 10,
  disordered: 0,
};

describe('measurement', () => {
  it('gives thousands of messages a second and microseconds a message', () => {
    expect(fromLoad(messages, 's', result)).toMatchObject({
      value: 200,
      cpu: 2.5,
      serverBusy: 0.5,
      generatorBusy: 0.25,
      error: null,
    });
  });

  it('gives megabytes a second and milliseconds a megabyte', () => {
    expect(fromLoad(megabytes, 's', result)).toMatchObject({ value: 25, cpu: 20 });
  });

  it('leaves CPU out where it is not known', () => {
    expect(fromLoad(messages, 's', { ...result, serverCpuSeconds: null })).toMatchObject({
      cpu: null,
      serverBusy: null,
    });
  });

  it('fails a lossless row for a loss or disorder, and only a lossless one', () => {
    expect(fromLoad(messages, 's', { ...result, arrived: 9 }).error).toBe('9 of 10 arrived');
    expect(fromLoad(messages, 's', { ...result, disordered: 1 }).error).toBe('1 out of order or twice');
    expect(fromLoad({ ...messages, lossless: false }, 's', { ...result, arrived: 9 }).error).toBeNull();
  });

  it('takes a figure for a floor when its generator was busy', () => {
    const busy = (generatorCpuSeconds: number) =>
      isFloor(fromLoad(messages, 's', { ...result, generatorCpuSeconds }));
    expect([busy(1.79), busy(1.8), busy(2.4)]).toEqual([false, true, true]);
  });

  it('gives bytes for each idle connection, and the time until an offline session was served', () => {
    const idle: Row = { ...messages, unit: 'connectionKb' };
    const residentBytes = { before: 1_000_000, with: 1_000_000 + 400_000 * 8000 };
    expect(fromLoad(idle, 's', { ...result, residentBytes }).value).toBe(8);
    const served: Row = { ...messages, unit: 'milliseconds' };
    expect(fromLoad(served, 's', { ...result, servedMs: 12 })).toMatchObject({ value: 12, cpu: null });
  });

  it('takes medians and ratios', () => {
    expect([median([3, 1, 2]), median([4, 1, 3, 2]), median([5])]).toEqual([2, 2.5, 5]);
    expect([ratio(6, 3), ratio(null, 3), ratio(6, 0)]).toEqual([2, null, null]);
  });
});

describe('process figures', () => {
  it('reads ticks after a name with spaces and brackets', () => {
    expect(ticksOf('12 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0')).toBe(42);
  });

  it('knows nothing of no process or one that is gone', () => {
    expect([cpuSeconds([]), residentBytes([]), cpuSeconds([2 ** 30]), residentBytes([2 ** 30])]).toEqual([
      null,
      null,
      null,
      null,
    ]);
  });

  it.runIf(process.platform === 'linux')('agrees with what this process knows of itself', () => {
    const { user, system } = process.cpuUsage();
    expect(Math.abs((cpuSeconds([process.pid]) as number) - (user + system) / 1e6)).toBeLessThan(0.1);
    const own = process.memoryUsage.rss();
    expect(Math.abs((residentBytes([process.pid]) as number) - own) / own).toBeLessThan(0.2);
  });
});
