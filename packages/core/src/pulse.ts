import type { Clock, Timer } from './ports.ts';

/**
 * Looks for what is overdue, every `everyMs`. A beat that comes a whole interval late is left out: the process stood
 * still, and what others sent meanwhile has to be read before anybody is called silent. The one behind it is not left
 * out, however busy the process is.
 */
export class Pulse {
  readonly #clock: Clock;
  readonly #everyMs: number;
  readonly #beat: () => void;
  #timer: Timer | null = null;
  #leftOut = false;
  #stoodStillMs = 0;

  constructor(clock: Clock, everyMs: number, beat: () => void) {
    this.#clock = clock;
    this.#everyMs = everyMs;
    this.#beat = beat;
  }

  /** How long the process stood still before beats that were left out: time in which nobody could be heard. */
  get stoodStillMs(): number {
    return this.#stoodStillMs;
  }

  start(): void {
    const due = this.#clock.monotonic() + this.#everyMs;
    this.#timer = this.#clock.after(this.#everyMs, () => {
      this.start();
      const lateMs = this.#clock.monotonic() - due;
      this.#leftOut = !this.#leftOut && lateMs >= this.#everyMs;
      if (this.#leftOut) this.#stoodStillMs += lateMs;
      else this.#beat();
    });
  }

  /** Also from inside a beat. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }
}
