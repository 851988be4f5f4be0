import { describe, expect, it } from 'vitest';
import { failed, figure, type Measurement } from './measurement.ts';
import type { Row } from './rows/row.ts';
import { type Bar, exitStatus, judge } from './verdict.ts';

const subject = 'robustmq';

function row(...bars: Bar[]): Row {
  const rest = { peers: ['aedes', 'kafka'], lossless: true, durable: false } as const;
  return { id: 'r', title: 'r', set: 'bars', group: 'g', protocol: null, unit: 'messages', bars, ...rest };
}

/** Judges one bar over the figures of this server and of aedes; null for a server that was not measured. */
function verdictOf(bar: Bar, own: number | string | null, peer: number | string | null, skipped = '') {
  const of = (server: string, value: number | string) =>
    typeof value === 'string'
      ? failed(row(), server, value)
      : { ...figure(row(), server, value), cpu: value };
  const measurements: Measurement[] = [];
  if (own !== null) measurements.push(of(subject, own));
  if (peer !== null) measurements.push(of('aedes', peer));
  const missing = skipped === '' ? [] : [{ name: 'aedes', reason: skipped }];
  const judgements = judge([row(bar)], measurements, { subject, skipped: missing });
  return { ...judgements[0], status: exitStatus(judgements, measurements, subject) };
}

const twice: Bar = { against: 'aedes', figure: 'value', atLeast: 2 };

describe('verdict', () => {
  it('holds a bar from exactly its factor of the peer on', () => {
    expect(verdictOf(twice, 200, 100)).toMatchObject({
      verdict: 'held',
      reached: 2,
      reason: null,
      status: 0,
    });
    expect(verdictOf(twice, 199, 100)).toMatchObject({ verdict: 'short', reached: 1.99, status: 1 });
  });

  it('takes less CPU as better', () => {
    const half: Bar = { against: 'aedes', figure: 'cpu', atMost: 0.5 };
    expect(verdictOf(half, 5, 10)).toMatchObject({ verdict: 'held', status: 0 });
    expect(verdictOf(half, 5.1, 10)).toMatchObject({ verdict: 'short', status: 1 });
  });

  it('compares an absolute bar with the figure itself', () => {
    const second: Bar = { against: null, figure: 'value', atMost: 1000 };
    expect(verdictOf(second, 1000, null)).toMatchObject({ verdict: 'held', reached: 1000, status: 0 });
    expect(verdictOf(second, 1001, null)).toMatchObject({ verdict: 'short', status: 1 });
  });

  it('leaves the bar of a missing peer open, with the reason', () => {
    const open = { verdict: 'skipped', reached: null, status: 2 };
    expect(verdictOf(twice, 1, null, 'no Java')).toMatchObject({ ...open, reason: 'no Java' });
    expect(verdictOf(twice, 1, null)).toMatchObject({ ...open, reason: 'not asked for' });
    expect(verdictOf(twice, 1, 'it broke')).toMatchObject({ ...open, reason: 'it broke' });
    expect(verdictOf(twice, 1, 0)).toMatchObject({ ...open, reason: 'no figure of the peer' });
  });

  it('is short when this server failed or has no figure, whatever the peer', () => {
    expect(verdictOf(twice, 'kill -9 lost 1', 100)).toMatchObject({
      verdict: 'short',
      reason: 'kill -9 lost 1',
      status: 1,
    });
    expect(verdictOf(twice, 'it broke', null, 'no Java')).toMatchObject({ verdict: 'short', status: 1 });
    expect(verdictOf(twice, null, 100)).toMatchObject({
      verdict: 'short',
      reason: 'not measured',
      status: 1,
    });
  });

  it('counts one short bar more than any number of skipped ones', () => {
    const kafka: Bar = { against: 'kafka', figure: 'value', atLeast: 1 };
    const measurements = [figure(row(), subject, 1), figure(row(), 'aedes', 1)];
    const judgements = judge([row(kafka, twice)], measurements, { subject, skipped: [] });
    expect(judgements.map(({ verdict }) => verdict)).toEqual(['skipped', 'short']);
    expect(exitStatus(judgements, measurements, subject)).toBe(1);
  });

  it('fails for a row of this server that failed without a bar, not for one of a peer', () => {
    expect(exitStatus([], [failed(row(), subject, 'x')], subject)).toBe(1);
    expect(exitStatus([], [failed(row(), 'aedes', 'x')], subject)).toBe(0);
  });
});
