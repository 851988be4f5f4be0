import { RobustError } from '@robustmq/core';
import type { KernelErrorCode } from './errors.ts';
import type { Metadata } from './ports/metadata.ts';

const blockSize = 1000;

/** Producer ids that are unique in the cluster, taken from metadata in blocks of 1,000. */
export class ProducerIds {
  readonly #metadata: Metadata;
  #next = 0;
  #end = 0;
  #fetching: Promise<void> | null = null;

  constructor(metadata: Metadata) {
    this.#metadata = metadata;
  }

  async next(): Promise<number> {
    while (this.#next === this.#end) {
      this.#fetching ??= this.#fetch().finally(() => {
        this.#fetching = null;
      });
      await this.#fetching;
    }
    return this.#next++;
  }

  async #fetch(): Promise<void> {
    const [result] = await this.#metadata.propose([{ kind: 'allocateProducerIds' }]);
    if (result instanceof Error) throw result;
    if (result?.firstId === undefined) {
      throw new RobustError<KernelErrorCode>('METADATA_UNAVAILABLE', 'no producer ids were allocated', {
        retriable: true,
      });
    }
    this.#next = result.firstId;
    this.#end = result.firstId + blockSize;
  }
}
