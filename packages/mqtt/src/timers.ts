import type { Clock, WheelItem } from '@robustmq/core';
import { Pulse, TimingWheel } from '@robustmq/core';

/** Resolution of all deadlines of connections and sessions, ms. */
const tickMs = 250;

/** Something that is due once; `expire` is called when it is. */
export abstract class TimerItem implements WheelItem {
  dueTick = 0;
  wheelSlot: Set<WheelItem> | null = null;
  abstract expire(): void;
}

/** Keep alive, session expiry, wills and publish deadlines under one timer. */
export class Timers {
  readonly #clock: Clock;
  readonly #wheel = new TimingWheel<TimerItem>();
  readonly #startedAt: number;
  readonly #pulse: Pulse;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedAt = clock.monotonic();
    this.#pulse = new Pulse(clock, tickMs, () => this.#wheel.advance(this.#tick(), expire));
  }

  start(): void {
    this.#pulse.start();
  }

  stop(): void {
    this.#pulse.stop();
  }

  /** Makes the item due in `ms`, at the earliest. */
  schedule(item: TimerItem, ms: number): void {
    item.dueTick = this.dueIn(ms);
    this.#wheel.schedule(item);
  }

  /** Moves a scheduled item to a later time; costs one field. */
  postpone(item: TimerItem, ms: number): void {
    item.dueTick = this.dueIn(ms);
  }

  cancel(item: TimerItem): void {
    this.#wheel.cancel(item);
  }

  /** Ms of its life, without the time in which this process stood still, and no client could be heard. */
  now(): number {
    return this.#clock.monotonic() - this.#startedAt - this.#pulse.stoodStillMs;
  }

  dueIn(ms: number): number {
    return Math.ceil((this.now() + ms) / tickMs);
  }

  #tick(): number {
    return Math.floor(this.now() / tickMs);
  }
}

function expire(item: TimerItem): void {
  item.expire();
}
