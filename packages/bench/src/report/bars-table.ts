import { type Measurement, ratio } from '../measurement.ts';
import type { Row } from '../rows/row.ts';
import type { Bar, Judgement } from '../verdict.ts';
import { markdownTable } from './markdown.ts';
import { boundText, cpuText, shortest, times, valueText } from './units.ts';

const heading = ['work', 'peer', 'this server', 'the peer', 'ratio', 'bar', 'verdict'];
const leftColumns = 2;
const reasonCharsMax = 80;

export interface Results {
  readonly rows: readonly Row[];
  readonly measurements: readonly Measurement[];
  readonly judgements: readonly Judgement[];
  readonly subject: string;
}

/** Work, this server, each peer, ratio, bar, verdict. Peers without a bar are there to compare with. */
export function barsTable(results: Results): string {
  const lines = results.rows.flatMap((row) => {
    const own = linesOf(row, results);
    return own.map((line, index) => [index === 0 ? row.title : '', ...line]);
  });
  return markdownTable(heading, lines, leftColumns);
}

function linesOf(row: Row, { measurements, judgements, subject }: Results): string[][] {
  const own = measurements.filter((measurement) => measurement.row === row.id);
  const server = own.find((measurement) => measurement.server === subject);
  const judged = judgements.filter((judgement) => judgement.row === row.id);
  const shown = (figure: 'value' | 'cpu', measurement: Measurement | undefined) => {
    if (measurement === undefined) return '';
    if (measurement.error !== null) return 'failed';
    return figure === 'value' ? valueText(row.unit, measurement) : cpuText(row.unit, measurement);
  };
  const barLines = judged.map((judgement) => {
    const { against, figure } = judgement.bar;
    const peer = own.find((measurement) => measurement.server === against);
    return [
      against ?? '',
      shown(figure, server),
      shown(figure, peer),
      against === null ? '' : times(judgement.reached),
      barText(row, judgement.bar),
      verdictText(judgement),
    ];
  });
  const named = new Set(judged.map(({ bar }) => bar.against));
  const others = own.filter(
    (measurement) => measurement !== server && !named.has(measurement.server as never),
  );
  const otherLines = others.map((peer) => [
    peer.server,
    shown('value', server),
    shown('value', peer),
    times(comparable(server, peer)),
    '',
    peer.error === null ? '' : cut(peer.error),
  ]);
  const lines = [...barLines, ...otherLines];
  if (lines.length > 0 || server === undefined) return lines;
  return [['', shown('value', server), '', '', '', server.error === null ? '' : cut(server.error)]];
}

function comparable(server: Measurement | undefined, peer: Measurement): number | null {
  if (server === undefined || server.error !== null || peer.error !== null) return null;
  return ratio(server.value, peer.value);
}

function barText(row: Row, bar: Bar): string {
  const [sign, bound] = bar.atLeast !== undefined ? ['>=', bar.atLeast] : ['<=', bar.atMost ?? Infinity];
  if (bar.against === null) return `${sign} ${boundText(row.unit, bar.figure, bound)}`;
  return `${sign} ${shortest(bound)}x${bar.figure === 'cpu' ? ' CPU' : ''}`;
}

function verdictText({ verdict, reason }: Judgement): string {
  return reason === null ? verdict : `${verdict}: ${cut(reason)}`;
}

function cut(reason: string): string {
  const line = reason.split('\n')[0] as string;
  return line.length > reasonCharsMax ? `${line.slice(0, reasonCharsMax - 3)}...` : line;
}
