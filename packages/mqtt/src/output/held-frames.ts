/** Where released frames go. */
export interface FrameWriter {
  append(bytes: Buffer): void;
}

/**
 * Packets that may leave only after something is committed, and all that would overtake them. A frame with `after` 0
 * waits for nothing but its predecessors.
 */
export class HeldFrames {
  readonly #frames: { readonly bytes: Buffer; readonly after: number }[] = [];
  #committed = 0;
  #bytes = 0;

  /** Bytes that are held; they count as unsent. */
  get bytes(): number {
    return this.#bytes;
  }

  get empty(): boolean {
    return this.#frames.length === 0;
  }

  /** Holds `bytes` until the change with the number `after` is committed. */
  push(bytes: Buffer, after: number): void {
    this.#frames.push({ bytes, after });
    this.#bytes += bytes.length;
  }

  /** Forgets what is held: nobody waits for it any more. */
  drop(): void {
    this.#frames.length = 0;
    this.#bytes = 0;
  }

  /** Everything up to this change is committed: writes what need not wait any longer. */
  release(committed: number, writer: FrameWriter): void {
    if (committed > this.#committed) this.#committed = committed;
    let ready = 0;
    for (; ready < this.#frames.length; ready++) {
      const frame = this.#frames[ready]!;
      if (frame.after > this.#committed) break;
      this.#bytes -= frame.bytes.length;
      writer.append(frame.bytes);
    }
    if (ready > 0) this.#frames.splice(0, ready);
  }
}
