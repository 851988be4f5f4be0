/** Wall and monotonic time, and timers, so that deterministic code takes them as an argument. */
export interface Clock {
  /** Wall clock, ms since 1970. */
  now(): number;
  /** Monotonic ms; never jumps. */
  monotonic(): number;
  /** Runs `task` once after `delayMs`. The timer does not keep the process alive. */
  after(delayMs: number, task: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

/** Source of randomness: seeded in simulation, the system's elsewhere. */
export interface Random {
  /** Uniform integer in [0, 2^32). */
  u32(): number;
  bytes(length: number): Buffer;
}

/** Structured logger: a constant message and fields. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(bindings: object): Logger;
}

/** Starts once, stops once; `stop` drains, is idempotent and is what `await using` calls. */
export interface Lifecycle {
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** A logger that drops everything; the default in tests. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLogger,
};
