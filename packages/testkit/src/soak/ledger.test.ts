import { expect, it } from 'vitest';
import { Ledger } from './ledger.ts';

it('names what was acknowledged and not given, in whatever order both come', () => {
  const ledger = new Ledger();
  ledger.read('reader', 's');
  for (const number of [0, 2, 1, 3]) ledger.acknowledge('s', number);
  for (const number of [4, 0, 3]) ledger.give('reader', 's', number);
  expect(ledger.missing()).toEqual(['reader was not given 1, 2 of the 4 acknowledged of s']);
  for (const number of [2, 1, 1]) ledger.give('reader', 's', number);
  expect(ledger.missing()).toEqual([]);
  expect([ledger.acknowledged, ledger.delivered, ledger.twice]).toEqual([4, 5, 1]);
});

it('sees a loss above a number that is not acknowledged', () => {
  const ledger = new Ledger();
  ledger.read('reader', 's');
  ledger.acknowledge('s', 7);
  expect(ledger.missing()).toEqual(['reader was not given 7 of the 1 acknowledged of s']);
});

it('asks a reader for nothing of subjects that it does not read', () => {
  const ledger = new Ledger();
  ledger.read('reader', 's');
  ledger.acknowledge('other', 0);
  ledger.give('reader', 'other', 0);
  expect([ledger.missing(), ledger.delivered]).toEqual([[], 0]);
});

it('tells what came twice and should have come once from what may come again', () => {
  const ledger = new Ledger();
  ledger.read('reader', 'once', { once: true });
  ledger.read('reader', 'often');
  for (const subject of ['once', 'often', 'often']) ledger.give('reader', subject, 0);
  ledger.give('reader', 'once', 0, true);
  expect([ledger.repeated, ledger.twice]).toEqual([[], 2]);
  ledger.give('reader', 'once', 0);
  expect([ledger.repeated, ledger.twice]).toEqual([['reader was given 0 of once twice'], 2]);
});
