import type { Logger } from '@robustmq/core';
import { RobustError, silentLogger } from '@robustmq/core';
import type {
  Metadata,
  MetadataCommand,
  MetadataImage,
  MetadataResult,
  MetadataUpdate,
} from '@robustmq/kernel';
import { decodeCommand } from './codec/command-codec.ts';
import { encodeAll } from './codec/log-entry-codec.ts';
import { Replica } from './replica.ts';
import type { StateOptions } from './state/metadata-state.ts';
import { MetadataState } from './state/metadata-state.ts';

export interface VolatileMetadataOptions extends StateOptions {
  readonly logger?: Logger;
}

/** Metadata without a disk, for tests: the same state machine and order, gone with the object. */
export class VolatileMetadata implements Metadata {
  readonly #replica: Replica;

  constructor(options: VolatileMetadataOptions) {
    this.#replica = new Replica(new MetadataState(options), options.logger ?? silentLogger);
  }

  get image(): MetadataImage {
    return this.#replica.image;
  }

  /** Hash of the state, 32 hex digits. */
  get stateHash(): string {
    return this.#replica.state.hash;
  }

  async propose(commands: readonly MetadataCommand[]): Promise<(MetadataResult | Error)[]> {
    const encoded = encodeAll(commands);
    await Promise.resolve();
    return encoded.map((item) => {
      if (item instanceof RobustError) return item;
      return this.#replica.apply(this.#replica.state.index + 1, decodeCommand(item)).result;
    });
  }

  watch(listener: (update: MetadataUpdate) => void): () => void {
    return this.#replica.watch(listener);
  }
}

export function createVolatileMetadata(options: VolatileMetadataOptions): VolatileMetadata {
  return new VolatileMetadata(options);
}
