import { type Measurement, ratio } from './measurement.ts';
import type { PeerName } from './options.ts';
import type { Row } from './rows/row.ts';

/** What a row must reach. Against a peer the bounds are factors of its figure, else they are absolute. */
export interface Bar {
  readonly against: PeerName | null;
  readonly figure: 'value' | 'cpu';
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** `skipped`: the peer's figure is missing, so that the bar is neither held nor short. */
export type Verdict = 'held' | 'short' | 'skipped';

export interface Judgement {
  readonly row: string;
  readonly bar: Bar;
  /** This server's figure over the peer's, or the figure itself where the bar is absolute. */
  readonly reached: number | null;
  readonly verdict: Verdict;
  /** Why a bar is short or skipped where the figures alone do not say it. */
  readonly reason: string | null;
}

export interface SkippedPeer {
  readonly name: string;
  readonly reason: string;
}

/** Judges every bar of the rows; `subject` is the server whose bars they are. */
export function judge(
  rows: readonly Row[],
  measurements: readonly Measurement[],
  { subject, skipped }: { readonly subject: string; readonly skipped: readonly SkippedPeer[] },
): Judgement[] {
  return rows.flatMap((row) => {
    const own = measurements.filter((measurement) => measurement.row === row.id);
    const of = (server: string) => own.find((measurement) => measurement.server === server);
    return row.bars.map((bar) => {
      const peer = bar.against === null ? null : missingPeer(bar.against, of(bar.against), skipped);
      return { row: row.id, bar, ...judgeBar(bar, of(subject), peer) };
    });
  });
}

/** 0 when all bars are held, 1 when one is short or a row of the subject failed, 2 when only peers are missing. */
export function exitStatus(
  judgements: readonly Judgement[],
  measurements: readonly Measurement[],
  subject: string,
): 0 | 1 | 2 {
  const failed = measurements.some(({ server, error }) => server === subject && error !== null);
  if (failed || judgements.some(({ verdict }) => verdict === 'short')) return 1;
  return judgements.some(({ verdict }) => verdict === 'skipped') ? 2 : 0;
}

type Outcome = Pick<Judgement, 'reached' | 'verdict' | 'reason'>;

function judgeBar(bar: Bar, subject: Measurement | undefined, peer: Measurement | string | null): Outcome {
  // A failure of this server is no better for a peer that is missing.
  if (subject === undefined) return { reached: null, verdict: 'short', reason: 'not measured' };
  if (subject.error !== null) return { reached: null, verdict: 'short', reason: subject.error };
  if (typeof peer === 'string') return { reached: null, verdict: 'skipped', reason: peer };
  const figure = subject[bar.figure];
  const reached = peer === null ? figure : ratio(figure, peer[bar.figure]);
  if (reached === null) {
    const missing = figure === null ? 'no figure of this server' : 'no figure of the peer';
    return { reached, verdict: figure === null ? 'short' : 'skipped', reason: missing };
  }
  const held = reached >= (bar.atLeast ?? -Infinity) && reached <= (bar.atMost ?? Infinity);
  return { reached, verdict: held ? 'held' : 'short', reason: null };
}

/** The peer's measurement, or why there is none. */
function missingPeer(
  name: PeerName,
  measurement: Measurement | undefined,
  skipped: readonly SkippedPeer[],
): Measurement | string {
  const missing = skipped.find((peer) => peer.name === name);
  if (missing !== undefined) return missing.reason;
  if (measurement === undefined) return 'not asked for';
  return measurement.error === null ? measurement : measurement.error;
}
