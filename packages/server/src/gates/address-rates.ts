import type { Clock } from '@robustmq/core';

export interface AddressRateLimits {
  /** Connections of one address a second, in the long run. */
  readonly perSecond: number;
  /** Connections that one address may open at once after a pause. */
  readonly burst: number;
  /** Whether addresses of this machine count as well. */
  readonly loopback: boolean;
}

/** Addresses in one of two generations. Whoever has more of them has what a bound per address can't see. */
const generationMax = 32_768;

/**
 * A bound on new connections per address, over all listeners. An IPv6 address counts with its whole /64, which is what
 * one customer has. Per address one number: until when what it has opened so far is paid for, at one connection each
 * `1 / perSecond`.
 */
export class AddressRates {
  readonly #clock: Clock;
  readonly #limits: AddressRateLimits;
  /** Address -> monotonic ms when its burst is whole again: those that came lately, and those before them. */
  #young = new Map<string, number>();
  #old = new Map<string, number>();

  constructor(clock: Clock, limits: AddressRateLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** Addresses that are remembered. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Counts one connection; false when the address has opened too many. */
  admit(address: string): boolean {
    const { perSecond, burst, loopback } = this.#limits;
    if (!loopback && isLoopbackPeer(address)) return true;
    const key = keyOf(address);
    const now = this.#clock.monotonic();
    const costMs = 1000 / perSecond;
    const paidAt = Math.max(this.#young.get(key) ?? this.#old.get(key) ?? now, now) + costMs;
    // What was refused costs nothing: an address that goes on trying still gets its rate.
    if (paidAt - now > burst * costMs) return false;
    if (this.#young.size >= generationMax && !this.#young.has(key)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, paidAt);
    return true;
  }
}

/** Whether the peer is this machine; a connection over IPv4 to an IPv6 socket has a mapped address. */
function isLoopbackPeer(address: string): boolean {
  return address === '::1' || plainIpv4(address).startsWith('127.');
}

function plainIpv4(address: string): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}

function keyOf(address: string): string {
  const plain = plainIpv4(address);
  return plain.includes(':') ? networkOf(plain) : plain;
}

/** The first 64 bits of an IPv6 address, as text; the zone of a link-local address stays out of it. */
function networkOf(address: string): string {
  const [bare = ''] = address.split('%');
  const [head = '', tail] = bare.split('::');
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const after = tail === '' ? 0 : tail.split(':').length;
    const zeros = Math.max(8 - groups.length - after, 0);
    for (let at = 0; at < zeros; at++) groups.push('0');
    if (tail !== '') groups.push(...tail.split(':'));
  }
  return `${groups.slice(0, 4).join(':')}::/64`;
}
