import { isFloor, type Measurement, ratio } from '../measurement.ts';
import type { SkippedPeer } from '../verdict.ts';
import { barsTable, type Results } from './bars-table.ts';
import { figuresTable } from './figures-table.ts';
import { percent } from './units.ts';

export interface Report extends Results {
  readonly skipped: readonly SkippedPeer[];
  /** What was typed, the machine, when: what a reader needs to run it again. */
  readonly command: string;
  readonly machine: string;
  readonly date: string;
}

/** Markdown, ready to paste: the command, the bars, the figures behind them, and what a reader must know of them. */
export function reportText(report: Report): string {
  const { rows, measurements } = report;
  const notes = notesOf(report);
  return [
    `\`${report.command}\`, ${report.date}, ${report.machine}\n`,
    barsTable(report),
    figuresTable(rows, measurements),
    notes.map((note) => `- ${note}\n`).join(''),
    summary(report),
  ]
    .filter((part) => part !== '')
    .join('\n');
}

/** The same for machines. */
export function reportJson(report: Report): string {
  const { subject, skipped, command, machine, date } = report;
  const rows = report.rows.map(({ id, title, unit, set }) => ({ id, title, unit, set }));
  const measurements = report.measurements.map((each) => ({
    ...each,
    floor: isFloor(each),
    subjectOverThis: subjectOver(each, report.measurements, subject),
  }));
  const { judgements } = report;
  const document = { command, machine, date, rows, measurements, judgements, skipped };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function notesOf({ measurements, skipped }: Report): string[] {
  const each = (text: (measurement: Measurement) => string | null) =>
    measurements.flatMap((measurement) => {
      const note = text(measurement);
      return note === null ? [] : [`${measurement.row}, ${measurement.server}: ${note}`];
    });
  return [
    ...skipped.map(({ name, reason }) => `${name} was skipped: ${reason}`),
    ...each(({ error }) => (error === null ? null : `failed: ${error}`)),
    ...each(({ durability }) => durability),
    ...each(({ note }) => note),
    ...each((measurement) =>
      isFloor(measurement)
        ? `the generator was ${percent(measurement.generatorBusy)} busy, the figure is a floor`
        : null,
    ),
    ...each(({ latency }) =>
      latency !== null && latency.rateReached < 0.95
        ? `only ${percent(latency.rateReached)} of the rate for latency was reached`
        : null,
    ),
  ];
}

function summary({ judgements }: Report): string {
  if (judgements.length === 0) return '';
  const count = (verdict: string) => judgements.filter((judgement) => judgement.verdict === verdict).length;
  return `${judgements.length} bars: ${count('held')} held, ${count('short')} short, ${count('skipped')} skipped\n`;
}

/** Subject's figures over a peer's in the same row; null for the subject itself. */
function subjectOver(peer: Measurement, all: readonly Measurement[], subjectName: string) {
  const subject = all.find(({ row, server }) => row === peer.row && server === subjectName);
  if (subject === undefined || subject === peer || subject.error !== null || peer.error !== null) return null;
  return { value: ratio(subject.value, peer.value), cpu: ratio(subject.cpu, peer.cpu) };
}
