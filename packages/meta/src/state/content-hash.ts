import { hash } from 'node:crypto';

const digestBytes = 16;

/**
 * Hash of a set of pairs, kept up to date pair by pair and independent of their order: the digests are combined by
 * exclusive or. It finds what a disk or a defect did to the set; it does not resist somebody who forges pairs.
 */
export class ContentHash {
  readonly #sum = Buffer.alloc(digestBytes);
  #count = 0;

  /** Number of pairs in the set. */
  get count(): number {
    return this.#count;
  }

  add(key: string, value: Uint8Array): void {
    this.#toggle(key, value);
    this.#count++;
  }

  /** `value` is the one that was added. */
  remove(key: string, value: Uint8Array): void {
    this.#toggle(key, value);
    this.#count--;
  }

  /** 32 hex digits. */
  digest(): string {
    return this.#sum.toString('hex');
  }

  #toggle(key: string, value: Uint8Array): void {
    const input = Buffer.allocUnsafe(Buffer.byteLength(key) + 1 + value.length);
    const end = input.write(key);
    input[end] = 0;
    input.set(value, end + 1);
    const digest = hash('sha256', input, 'buffer');
    for (let at = 0; at < digestBytes; at++) this.#sum[at]! ^= digest[at]!;
  }
}
