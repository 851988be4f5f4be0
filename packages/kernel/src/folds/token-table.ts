import type { ByteReader, ByteWriter, Offset } from '@robustmq/core';

/**
 * Deduplication tokens of publishes whose exactly-once exchange is still open: {session producer id, token} from the
 * record until its release commits (docs/semantics.md 4.2).
 */
export class TokenTable {
  readonly #open = new Map<number, Map<number, Offset>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(producerId: number, token: number): boolean {
    return this.#open.get(producerId)?.has(token) ?? false;
  }

  add(producerId: number, token: number, offset: Offset): void {
    let tokens = this.#open.get(producerId);
    if (tokens === undefined) {
      tokens = new Map();
      this.#open.set(producerId, tokens);
    }
    if (!tokens.has(token)) this.#size++;
    tokens.set(token, offset);
  }

  release(producerId: number, token: number): void {
    const tokens = this.#open.get(producerId);
    if (tokens === undefined || !tokens.delete(token)) return;
    this.#size--;
    if (tokens.size === 0) this.#open.delete(producerId);
  }

  /** Open tokens of one session, so that a resuming broker can go on. */
  openOf(producerId: number): number[] {
    return [...(this.#open.get(producerId)?.keys() ?? [])];
  }

  encode(out: ByteWriter): void {
    out.u32(this.#size);
    for (const [producerId, tokens] of this.#open) {
      for (const [token, offset] of tokens) out.i64(producerId).u32(token).i64(offset);
    }
  }

  decode(input: ByteReader): void {
    this.#open.clear();
    this.#size = 0;
    const count = input.count(20);
    for (let i = 0; i < count; i++) this.add(input.i64(), input.u32(), input.i64());
  }
}
