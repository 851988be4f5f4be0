import type { Clock } from '@robustmq/core';
import { describe, expect, it } from 'vitest';
import { AddressRates } from './address-rates.ts';

let now = 0;
const clock: Clock = { now: () => now, monotonic: () => now, after: () => ({ cancel: () => undefined }) };

/** How many of `tries` connections from `address` are taken now. */
function taken(rates: AddressRates, address: string, tries: number): number {
  let count = 0;
  for (let at = 0; at < tries; at++) if (rates.admit(address)) count++;
  return count;
}

describe('connections of one address', () => {
  it('are 1,000 at once and 100 a second, and what is refused costs nothing', () => {
    const rates = new AddressRates(clock, { perSecond: 100, burst: 1000, loopback: false });
    expect(taken(rates, '192.0.2.1', 5000)).toBe(1000);
    now += 1000;
    expect(taken(rates, '192.0.2.1', 5000)).toBe(100);
    expect(taken(rates, '192.0.2.2', 5000)).toBe(1000);
    now += 60_000;
    expect(taken(rates, '192.0.2.1', 5000)).toBe(1000);
  });

  it('of this machine count only where that is asked for', () => {
    const limits = { perSecond: 1, burst: 5, loopback: false };
    const exempt = new AddressRates(clock, limits);
    const counted = new AddressRates(clock, { ...limits, loopback: true });
    for (const address of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1']) {
      expect(taken(exempt, address, 100)).toBe(100);
    }
    expect(taken(counted, '127.0.0.1', 100)).toBe(5);
    // The same peer, as an IPv6 socket names it.
    expect(taken(counted, '::ffff:127.0.0.1', 100)).toBe(0);
  });

  it('over IPv6 are those of its /64', () => {
    const rates = new AddressRates(clock, { perSecond: 1, burst: 5, loopback: false });
    expect(taken(rates, '2001:db8:1:2::1', 100)).toBe(5);
    expect(taken(rates, '2001:db8:1:2:ffff::9', 100)).toBe(0);
    expect(taken(rates, '2001:db8:1:3::1', 100)).toBe(5);
    expect(taken(rates, '2001:db8::1', 100)).toBe(5);
    expect(taken(rates, '2001:db8:0:0:5::', 100)).toBe(0);
    expect(taken(rates, 'fe80::1%eth0', 100)).toBe(5);
    expect(taken(rates, 'fe80::2%eth1', 100)).toBe(0);
  });

  it('of a million addresses need bounded memory, and no owner of few loses its debt to them early', () => {
    const rates = new AddressRates(clock, { perSecond: 1, burst: 5, loopback: false });
    expect(taken(rates, '192.0.2.7', 100)).toBe(5);
    for (let at = 0; at < 30_000; at++) rates.admit(`10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`);
    expect(taken(rates, '192.0.2.7', 100)).toBe(0);
    for (let at = 0; at < 1_000_000; at++) rates.admit(`11.${at >> 16}.${(at >> 8) & 255}.${at & 255}`);
    expect(rates.size).toBeLessThanOrEqual(65_536);
  });
});
