import type { MqttCounters } from '../metrics.ts';
import type { SessionState } from './session-state.ts';

/** Whether a filter begins with a wildcard: it wants what every topic gets. */
function isBroad(filter: string): boolean {
  return filter === '+' || filter === '#' || filter.startsWith('+/');
}

/**
 * Kept sessions that want, above QoS 0, what every topic gets: each may hold back the retention of everything, so there is
 * a bound on their number (docs/semantics.md 8).
 */
export class BroadSessions {
  readonly #max: number;
  readonly #clients = new Set<string>();

  readonly #counters: MqttCounters;

  constructor(max: number, counters: MqttCounters) {
    this.#max = max;
    this.#counters = counters;
  }

  /** Whether the session may have this subscription. */
  allows(state: SessionState, filter: string, qos: number): boolean {
    if (qos === 0 || !isBroad(filter)) return true;
    return this.#clients.has(state.clientId) || this.#clients.size < this.#max;
  }

  /** Counts the session by the subscriptions that it has now. */
  update(state: SessionState): void {
    for (const { filter, qos } of state.subscriptions.values()) {
      if (qos === 0 || !isBroad(filter)) continue;
      this.#clients.add(state.clientId);
      this.#counters.sessionsBroad = this.#clients.size;
      return;
    }
    this.remove(state.clientId);
  }

  remove(clientId: string): void {
    this.#clients.delete(clientId);
    this.#counters.sessionsBroad = this.#clients.size;
  }
}
