import { RobustError } from '@robustmq/core';
import type { KernelErrorCode, MetadataResult } from '@robustmq/kernel';

/** A command on its way to the log. */
export interface Pending {
  readonly index: number;
  /** Its number in the log, ascending. */
  readonly number: number;
  readonly bytes: Buffer;
}

interface Place extends Pending {
  readonly batch: Batch;
  /** Where its result belongs. */
  readonly at: number;
}

/** One call of `propose`. */
interface Batch {
  readonly results: (MetadataResult | Error)[];
  left: number;
  readonly resolve: (results: (MetadataResult | Error)[]) => void;
  readonly reject: (error: Error) => void;
}

/** Proposals between their append and their answer, in the order of the log. */
export class Proposals {
  #queue: Place[] = [];
  #bytes = 0;

  /** Bytes of the commands that are not answered. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Appends every command that has bytes; a refusal, also one of `append`, is the result in its place. */
  add(
    encoded: readonly (Buffer | RobustError<KernelErrorCode>)[],
    append: (bytes: Buffer) => Pending | RobustError<KernelErrorCode>,
  ): Promise<(MetadataResult | Error)[]> {
    return new Promise((resolve, reject) => {
      const batch: Batch = { results: [], left: 0, resolve, reject };
      for (let at = 0; at < encoded.length; at++) {
        const item = encoded[at]!;
        const pending = item instanceof RobustError ? item : append(item);
        if (pending instanceof RobustError) batch.results[at] = pending;
        else {
          batch.left++;
          this.#bytes += pending.bytes.length;
          this.#queue.push({ ...pending, batch, at });
        }
      }
      if (batch.left === 0) resolve(batch.results);
    });
  }

  /** Answers every command up to `number` with what `apply` makes of it, in order. */
  settle(number: number, apply: (pending: Pending) => MetadataResult | Error): void {
    let settled = 0;
    for (const place of this.#queue) {
      if (place.number > number) break;
      settled++;
      const { batch, at, bytes } = place;
      batch.results[at] = apply(place);
      batch.left--;
      this.#bytes -= bytes.length;
      if (batch.left === 0) batch.resolve(batch.results);
    }
    if (settled > 0) this.#queue = this.#queue.slice(settled);
  }

  /** Rejects everything that waits: nobody knows any more what becomes of it. */
  fail(error: Error): void {
    const queue = this.#queue;
    this.#queue = [];
    this.#bytes = 0;
    for (const { batch } of queue) batch.reject(error);
  }
}
