import type { Guarantee, Subscription } from './match.ts';

/** A subscription as tests of this package need them; not exported. */
export function subscriptionTo(
  filter: string,
  options: { subscriber?: object; guarantee?: Guarantee } = {},
): Subscription {
  return {
    filter,
    subscriber: options.subscriber ?? {},
    guarantee: options.guarantee ?? 0,
    options: null,
    since: new Map(),
    bridging: null,
  };
}
