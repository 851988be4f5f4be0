import type {
  Metadata,
  MetadataCommand,
  MetadataImage,
  MetadataResult,
  MetadataUpdate,
} from '@robustmq/kernel';

/**
 * Cuts a process off from its storage after a number of writes: entries appended and metadata commands, in the order
 * in which they arrive. What comes later is neither stored nor answered, as after kill -9.
 */
export class Fuse {
  #left = Number.POSITIVE_INFINITY;
  #taken = 0;

  /** Writes that reached storage. */
  get taken(): number {
    return this.#taken;
  }

  get blown(): boolean {
    return this.#left <= 0;
  }

  /** Lets `writes` more through. */
  blowAfter(writes: number): void {
    this.#left = writes;
  }

  /** Whether one more write reaches storage. */
  take(): boolean {
    if (this.#left <= 0) return false;
    this.#left--;
    this.#taken++;
    return true;
  }
}

/** Metadata as one process sees it that can be cut off. */
export class FusedMetadata implements Metadata {
  readonly #metadata: Metadata;
  readonly #fuse: Fuse;

  constructor(metadata: Metadata, fuse: Fuse) {
    this.#metadata = metadata;
    this.#fuse = fuse;
  }

  get image(): MetadataImage {
    return this.#metadata.image;
  }

  async propose(commands: readonly MetadataCommand[]): Promise<(MetadataResult | Error)[]> {
    const through = commands.filter(() => this.#fuse.take());
    const results = await this.#metadata.propose(through);
    return this.#fuse.blown ? new Promise(() => undefined) : results;
  }

  watch(listener: (update: MetadataUpdate) => void): () => void {
    return this.#metadata.watch((update) => {
      if (!this.#fuse.blown) listener(update);
    });
  }
}
