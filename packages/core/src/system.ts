import { randomBytes } from 'node:crypto';
import type { Clock, Random } from './ports.ts';

/** The machine's clock. Timers do not keep the process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (delayMs, task) => {
    const timer = setTimeout(task, delayMs);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** The machine's randomness. */
export const systemRandom: Random = {
  u32: () => randomBytes(4).readUInt32BE(0),
  bytes: (length) => randomBytes(length),
};
