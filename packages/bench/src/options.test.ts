import { describe, expect, it } from 'vitest';
import { parseOptions } from './options.ts';
import { allRows, chooseRows } from './rows/choose-rows.ts';

describe('options', () => {
  it('has every peer and the bars by default', () => {
    expect(parseOptions([])).toMatchObject({
      seconds: 5,
      peers: ['mosquitto', 'aedes', 'nats', 'kafka', 'kafka-fsync'],
      sets: ['bars'],
      only: [],
      mqtt: null,
      pids: [],
    });
  });

  it('reads endpoints and lists', () => {
    const args = [
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
      '--peers',
      'none',
    ];
    expect(parseOptions(args)).toMatchObject({
      mqtt: { host: 'h', port: 1 },
      kafka: { host: '127.0.0.1', port: 2 },
      pids: [3, 4],
      only: ['a', 'b', 'c'],
      peers: [],
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
});

describe('rows', () => {
  const rows = allRows(parseOptions([]));
  const ids = (...args: string[]) => chooseRows(rows, parseOptions(args)).map((row) => row.id);

  it('have an id each', () => {
    expect(new Set(rows.map((row) => row.id)).size).toBe(rows.length);
  });

  it('are chosen by their set', () => {
    const sets = (...args: string[]) => [
      ...new Set(chooseRows(rows, parseOptions(args)).map((row) => row.set)),
    ];
    expect(sets()).toEqual(['bars']);
    expect(sets('--scale')).toEqual(['scale']);
    expect(sets('--latency', '--scale')).toEqual(['latency', 'scale']);
  });

  it('are chosen from all sets by id, else by its beginning, in their own order', () => {
    expect(ids('--only', 'kafka-produce')).toEqual(['kafka-produce']);
    expect(ids('--only', 'kafka-p,start')).toEqual(['start', 'kafka-produce', 'kafka-produce-small']);
    expect(ids('--only', 'mqtt')).toEqual(['mqtt-idle', 'mqtt-qos0', 'mqtt-fanout', 'mqtt-qos1']);
    expect(() => ids('--only', 'amqp')).toThrow('amqp is none of');
  });

  it('hold every bar that the peers set', () => {
    const bars = rows.flatMap((row) =>
      row.bars.map(({ against, figure, atLeast, atMost }) => {
        const bound = atLeast === undefined ? `<= ${atMost?.toFixed(3)}` : `>= ${atLeast}`;
        return `${row.id} ${figure} ${against ?? 'alone'} ${bound}`;
      }),
    );
    expect(bars).toMatchInlineSnapshot(`
      [
        "start value alone <= 1000.000",
        "memory value alone <= 130.000",
        "mqtt-idle value alone <= 12.000",
        "mqtt-qos0 value mosquitto >= 5",
        "mqtt-qos0 value aedes >= 7",
        "mqtt-fanout value mosquitto >= 5",
        "mqtt-fanout cpu mosquitto <= 0.143",
        "mqtt-fanout value aedes >= 15",
        "mqtt-qos1 value mosquitto >= 2",
        "mqtt-qos1 value aedes >= 3",
        "offline-one value alone <= 200.000",
        "offline-thousand value alone <= 5000.000",
        "kafka-produce value kafka-fsync >= 2",
        "kafka-produce value kafka >= 1",
        "kafka-produce cpu kafka-fsync <= 0.500",
        "kafka-produce-small value kafka-fsync >= 8",
        "kafka-produce-small value kafka >= 1.5",
        "kafka-fetch-tail value kafka >= 0.8",
        "kafka-fetch-log value kafka >= 0.5",
      ]
    `);
  });

  it('run on the peers that their bars name', () => {
    for (const row of rows) {
      const named = row.bars.flatMap(({ against }) => (against === null ? [] : [against]));
      expect(row.peers, row.id).toEqual(expect.arrayContaining(named));
    }
  });
});
