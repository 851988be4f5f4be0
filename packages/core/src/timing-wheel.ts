/** An item in the wheel; the wheel writes `wheelSlot` only. */
export interface WheelItem {
  /** When it is due, in ticks. May be moved later without touching the wheel: it is re-bucketed when visited. */
  dueTick: number;
  wheelSlot: Set<WheelItem> | null;
}

/**
 * Deadlines of many connections and sessions under one timer: `advance` visits one slot per tick, so an idle item
 * costs nothing until its slot comes round. Moving a deadline later is one field write; moving it earlier needs
 * `schedule` again.
 */
export class TimingWheel<Item extends WheelItem> {
  readonly #slots: Set<WheelItem>[];
  #tick = 0;

  constructor(slots = 512) {
    this.#slots = Array.from({ length: slots }, () => new Set<WheelItem>());
  }

  /** The last tick that was advanced to. */
  get tick(): number {
    return this.#tick;
  }

  schedule(item: Item): void {
    item.wheelSlot?.delete(item);
    const ahead = Math.min(Math.max(item.dueTick - this.#tick, 1), this.#slots.length - 1);
    const slot = this.#slots[(this.#tick + ahead) % this.#slots.length]!;
    slot.add(item);
    item.wheelSlot = slot;
  }

  cancel(item: Item): void {
    item.wheelSlot?.delete(item);
    item.wheelSlot = null;
  }

  /** Moves to `tick` and calls `expired` for each item that is due; an item is out of the wheel when called. */
  advance(tick: number, expired: (item: Item) => void): void {
    const steps = Math.min(tick - this.#tick, this.#slots.length);
    for (let step = 0; step < steps; step++) {
      this.#tick++;
      const slot = this.#slots[this.#tick % this.#slots.length]!;
      for (const item of slot) {
        slot.delete(item);
        item.wheelSlot = null;
        if (item.dueTick <= tick) expired(item as Item);
        else this.schedule(item as Item);
      }
    }
    if (tick > this.#tick) this.#tick = tick;
  }
}
