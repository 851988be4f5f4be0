import { describe, expect, it } from 'vitest';
import { failed, figure, fromLoad, type Measurement } from '../measurement.ts';
import type { Row } from '../rows/row.ts';
import { judge } from '../verdict.ts';
import { markdownTable } from './markdown.ts';
import { type Report, reportJson, reportText } from './report.ts';

const work: Row = {
  id: 'work',
  title: 'some work',
  set: 'bars',
  group: 'mqtt',
  protocol: 'mqtt',
  unit: 'messages',
  peers: ['aedes', 'mosquitto', 'nats'],
  bars: [
    { against: 'aedes', figure: 'value', atLeast: 5 },
    { against: 'aedes', figure: 'cpu', atMost: 1 / 7 },
    { against: 'mosquitto', figure: 'value', atLeast: 5 },
  ],
  lossless: true,
  durable: true,
};
const start: Row = {
  ...work,
  id: 'start',
  title: 'start',
  unit: 'startMs',
  bars: [{ against: null, figure: 'value', atMost: 1000 }],
};
const load = {
  seconds: 2,
  count: 400_000,
  bytes: 1,
  serverCpuSeconds: 1,
  generatorCpuSeconds: 0.5,
  expected: 10,
  arrived: 10,
  disordered: 0,
};

function report(measurements: readonly Measurement[]): Report {
  const rows = [start, work];
  const skipped = [{ name: 'mosquitto', reason: 'no command' }];
  const judgements = judge(rows, measurements, { subject: 'robustmq', skipped });
  const about = { command: 'npm run bench', machine: 'a machine', date: '2026-01-01' };
  return { rows, measurements, judgements, subject: 'robustmq', skipped, ...about };
}

const latency = { p50: 0.5, p99: 2, p999: 30, max: 40, count: 9, rateReached: 0.5 };
const measurements = [
  figure(start, 'robustmq', 700),
  { ...fromLoad(work, 'robustmq', load), latency, durability: 'all found' },
  fromLoad(work, 'aedes', { ...load, count: 40_000, generatorCpuSeconds: 1.9 }),
  failed(work, 'nats', 'it broke\nat some length'),
];

describe('report', () => {
  const text = reportText(report(measurements));
  const table = (heading: string) => {
    const lines = text.split('\n');
    const from = lines.findIndex((line) => line.startsWith(`| ${heading}`));
    const to = lines.findIndex((line, index) => index > from && line === '');
    return lines.slice(from + 2, to).map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    );
  };

  it('has a line for each bar and for each peer beside', () => {
    expect(table('work')).toEqual([
      ['start', '', '700 ms', '', '', '<= 1000 ms', 'held'],
      ['some work', 'aedes', '200 k/s', '>= 20.0 k/s', '10.0x', '>= 5x', 'held'],
      ['', 'aedes', '2.50 us', '25.0 us', '0.10x', '<= 0.143x CPU', 'held'],
      ['', 'mosquitto', '200 k/s', '', '', '>= 5x', 'skipped: no command'],
      ['', 'nats', '200 k/s', 'failed', '', '', 'it broke'],
    ]);
  });

  it('has the figures behind them', () => {
    expect(table('row')).toEqual([
      ['start', 'robustmq', '700 ms', '', '', '', '', '', '', '', ''],
      [
        'work',
        'robustmq',
        '200 k/s',
        '2.50 us',
        '50 %',
        '25 %',
        '100 %',
        '0.50 ms',
        '2.00 ms',
        '30.0 ms',
        '',
      ],
      ['work', 'aedes', '>= 20.0 k/s', '25.0 us', '50 %', '95 %', '100 %', '', '', '', ''],
      ['work', 'nats', 'failed', '', '', '', '', '', '', '', ''],
    ]);
  });

  it('says what a reader must know, and sums up', () => {
    expect(text.split('\n')[0]).toBe('`npm run bench`, 2026-01-01, a machine');
    expect(text.split('\n').filter((line) => line.startsWith('- '))).toEqual([
      '- mosquitto was skipped: no command',
      '- work, nats: failed: it broke',
      '- work, robustmq: all found',
      '- work, aedes: the generator was 95 % busy, the figure is a floor',
      '- work, robustmq: only 50 % of the rate for latency was reached',
    ]);
    expect(text.trimEnd().split('\n').at(-1)).toBe('4 bars: 3 held, 0 short, 1 skipped');
  });

  it('says the same in JSON', () => {
    const document = JSON.parse(reportJson(report(measurements)));
    expect(document.judgements.map(({ verdict }: { verdict: string }) => verdict)).toEqual([
      'held',
      'held',
      'held',
      'skipped',
    ]);
    expect(document.measurements[2]).toMatchObject({
      server: 'aedes',
      floor: true,
      subjectOverThis: { value: 10, cpu: 0.1 },
    });
  });
});

describe('Markdown table', () => {
  it('pads words to the right, figures to the left, and keeps a cell one line', () => {
    expect(
      markdownTable(
        ['a', 'b'],
        [
          ['x\ny', '1'],
          ['|', '1000'],
        ],
        1,
      ),
    ).toBe('| a   |    b |\n|-----|-----:|\n| x y |    1 |\n| \\|  | 1000 |\n');
  });
});
