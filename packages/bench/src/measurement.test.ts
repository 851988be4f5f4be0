import { describe, expect, it } from 'vitest';
import type { LoadResult } from './job.ts';
import { failed, figure, fromLoad, median, ratio } from './measurement.ts';
import { parseOptions } from './options.ts';
import { cpuSeconds, residentBytes, ticksOf } from './process-stat.ts';
import { allRows, chooseRows, type Row } from './rows.ts';
import { formatTable } from './table.ts';

const messages: Row = { id: 'm', title: 'messages', group: 'mqtt', unit: 'messages', lossless: true };
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

describe('options and rows', () => {
  it('has defaults', () => {
    expect(parseOptions([])).toMatchObject({
      seconds: 5,
      peers: ['mosquitto', 'aedes'],
      only: [],
      mqtt: null,
      pids: [],
    });
  });

  it('reads endpoints, lists and the Kafka peers', () => {
    const options = parseOptions([
      '--mqtt',
      'h:1',
      '--kafka',
      '2',
      '--pid',
      '3,4',
      '--only',
      'a,b',
      '--only',
      'c',
      '--kafka-peer',
      '--peers',
      'none',
    ]);
    expect(options).toMatchObject({
      mqtt: { host: 'h', port: 1 },
      kafka: { host: '127.0.0.1', port: 2 },
      pids: [3, 4],
      only: ['a', 'b', 'c'],
      peers: ['kafka', 'kafka-fsync'],
    });
  });

  it.each([
    ['--peers', 'rabbit'],
    ['--seconds', 'x'],
    ['--seconds', ''],
    ['--mqtt', 'host'],
    ['--what', '1'],
  ])('refuses %s %s', (...args) => {
    expect(() => parseOptions(args)).toThrow(args[0]);
  });

  it('chooses rows by id, else by its beginning, in their own order', () => {
    const rows = allRows(parseOptions(['--connections', '10']));
    expect(chooseRows(rows, []).length).toBe(rows.length);
    const ids = (...only: string[]) => chooseRows(rows, only).map((row) => row.id);
    expect(ids('kafka-produce')).toEqual(['kafka-produce']);
    expect(ids('kafka-p', 'start')).toEqual(['start', 'kafka-produce', 'kafka-produce-small']);
    expect(ids('mqtt')).toEqual(['mqtt-idle', 'mqtt-qos0', 'mqtt-fanout', 'mqtt-qos1']);
    expect(() => ids('amqp')).toThrow('amqp is none of');
  });
});

describe('table', () => {
  it('puts ratios on the lines of the peers', () => {
    const start: Row = { ...messages, id: 'start', title: 'start', group: 'process', unit: 'startMs' };
    const table = formatTable(
      [start, messages],
      [
        figure(start, 'robustmq', 300),
        figure(start, 'peer', 100),
        fromLoad(messages, 'robustmq', result),
        fromLoad(messages, 'peer', { ...result, count: 100_000 }),
        failed(messages, 'broken', 'it broke\nat some length'),
      ],
      'robustmq',
    );
    const cells = table.split('\n').map((line) => line.trim().split(/ {2,}/));
    expect(cells[1]).toEqual(['start', 'robustmq', '300 ms']);
    expect(cells[2]).toEqual(['start', 'peer', '100 ms', '3.00']);
    expect(cells[3]).toEqual(['m', 'robustmq', '200 k msg/s', '2.50 us/msg', '50 %', '25 %', '100 %']);
    expect(cells[4]).toEqual([
      'm',
      'peer',
      '50.0 k msg/s',
      '10.0 us/msg',
      '50 %',
      '25 %',
      '100 %',
      '4.00',
      '0.25',
    ]);
    expect(cells[5]).toEqual(['m', 'broken', 'FAILED: it broke']);
  });
});
