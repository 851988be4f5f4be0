import { RobustError } from '@robustmq/core';
import type { ShardId } from '@robustmq/core';
import type { BatchListener, Kernel, KernelErrorCode, LogBatch } from '@robustmq/kernel';
import { PublishMessage } from '@robustmq/kernel';
import { partitionHash } from '@robustmq/record';
import type { MqttContext } from '../adapter.ts';
import { refusalCode } from '../error-map.ts';
import { epochToken, fillWill } from '../mapping/will.ts';
import type { SessionState } from './session-state.ts';

const retryMs = 1000;

/**
 * Publishes wills, each once: the shard knows the token of a will that was published and whose session did not come to
 * say so before a crash (docs/semantics.md 4.2, 5.2).
 */
export class WillPublisher {
  readonly #context: MqttContext;
  readonly #message = new PublishMessage();
  /** Those that wait to try again. */
  readonly #retries = new Set<() => void>();
  #stopped = false;

  constructor(context: MqttContext) {
    this.#context = context;
  }

  stop(): void {
    this.#stopped = true;
    for (const retry of this.#retries) retry();
  }

  /**
   * Resolves to true when the will of the session is committed, or definitely refused; tries again while that is
   * unknown. False: the adapter stops, and the will is still due.
   */
  async publish(state: SessionState): Promise<boolean> {
    const { kernel, clock, logger, counters } = this.#context;
    if (state.will === null) return true;
    while (!this.#stopped) {
      try {
        if (await this.#wasPublished(kernel, state)) return true;
        await this.#once(kernel, state);
        counters.willsPublished++;
        return true;
      } catch (error) {
        const known = error instanceof RobustError;
        if (known && refusalCode(error.code as KernelErrorCode) !== null) {
          logger.warn({ client: state.clientId, code: error.code }, 'a will was refused');
          return true;
        }
        if (!known) throw error;
        await this.#pause(clock);
      }
    }
    return false;
  }

  /** Ends the deduplication of a will whose session remembers that it was published. */
  release(state: SessionState, topic: string): void {
    const { kernel, releases } = this.#context;
    const id = shardOfWill(kernel, state.clientId, topic);
    const shard = id === undefined ? null : kernel.readyShard(id);
    if (shard === null) return;
    releases.add(shard, { producerId: state.producerId, token: epochToken(state.epoch) }, null);
  }

  async #wasPublished(kernel: Kernel, state: SessionState): Promise<boolean> {
    const id = shardOfWill(kernel, state.clientId, state.will!.topic);
    if (id === undefined) return false;
    const shard = await kernel.openShard(id);
    return shard.tokens.has(state.producerId, epochToken(state.epoch));
  }

  #pause(clock: MqttContext['clock']): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        this.#retries.delete(done);
        resolve();
      };
      const timer = clock.after(retryMs, done);
      this.#retries.add(done);
    });
  }

  #once(kernel: Kernel, state: SessionState): Promise<void> {
    const will = state.will!;
    const message = this.#message;
    fillWill(will, message, {
      clientId: state.clientId,
      producerId: state.producerId,
      sessionEpoch: state.epoch,
      now: this.#context.clock.now(),
    });
    message.subject = kernel.subjects.forPublish(will.topic);
    const taken = kernel.publisher.publish(message);
    if (typeof taken === 'string') {
      return Promise.reject(
        new RobustError<KernelErrorCode>(taken, 'the will was not taken', {
          retriable: refusalCode(taken) === null,
        }),
      );
    }
    return new Promise((resolve, reject) => {
      const listener: BatchListener = {
        settled: (_batch: LogBatch, error) => (error === null ? resolve() : reject(error)),
      };
      // A will at QoS 0 may be routed only, in a batch that no log settles.
      if (message.guarantee === 0 && !message.retain) resolve();
      else taken.listen(listener);
    });
  }
}

/** Where the publisher puts the will; undefined in a topic without shards. */
function shardOfWill(kernel: Kernel, clientId: string, topic: string): ShardId | undefined {
  const subject = kernel.subjects.forPublish(topic);
  if (subject.shard >= 0) return subject.shard;
  const { shards } = subject.topic;
  return shards[(partitionHash(Buffer.from(clientId)) & 0x7fffffff) % shards.length];
}
