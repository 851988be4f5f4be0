/** Milliseconds from sending to receiving. */
export interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  /** Messages or requests that were timed. */
  readonly count: number;
  /** Of the rate that was asked for, what was sent; below 1 the server did not keep up. */
  readonly rateReached: number;
}

/** Buckets of a power of two of microseconds; each octave above has as many again, so a figure is off by 3 % at most. */
const octave = 32;
const octaves = 27;

/** Counts durations in buckets whose width grows with the duration, so that any number of them takes the same memory. */
export class LatencyHistogram {
  readonly #counts = new Float64Array(octave * octaves);
  #count = 0;
  #maxMs = 0;

  /** Costs some nanoseconds: it is called once a message. */
  record(ms: number): void {
    const us = Math.min(Math.max(0, Math.round(ms * 1000)), 0x7fffffff);
    const index = bucketOf(us);
    this.#counts[index] = (this.#counts[index] as number) + 1;
    this.#count++;
    if (ms > this.#maxMs) this.#maxMs = ms;
  }

  clear(): void {
    this.#counts.fill(0);
    this.#count = 0;
    this.#maxMs = 0;
  }

  /** Undefined when nothing was recorded. */
  summary(rateReached: number): Latency | undefined {
    if (this.#count === 0) return undefined;
    const at = (share: number) => Math.min(this.#percentile(share), this.#maxMs);
    return {
      p50: at(0.5),
      p99: at(0.99),
      p999: at(0.999),
      max: this.#maxMs,
      count: this.#count,
      rateReached,
    };
  }

  /** Upper end of the bucket in which the share lies, in milliseconds. */
  #percentile(share: number): number {
    const rank = Math.ceil(this.#count * share);
    let seen = 0;
    for (let index = 0; index < this.#counts.length; index++) {
      seen += this.#counts[index] as number;
      if (seen >= rank) return upperUs(index) / 1000;
    }
    return this.#maxMs;
  }
}

function bucketOf(us: number): number {
  if (us < octave) return us;
  const shift = 26 - Math.clz32(us);
  return octave * shift + (us >> shift);
}

/** Largest number of microseconds that falls into the bucket. */
function upperUs(index: number): number {
  if (index < 2 * octave) return index;
  const shift = Math.floor(index / octave) - 1;
  return ((index % octave) + octave + 1) * 2 ** shift - 1;
}
