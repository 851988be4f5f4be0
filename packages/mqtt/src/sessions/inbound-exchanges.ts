import type { RobustError, ShardId } from '@robustmq/core';
import type { KernelErrorCode, Shard } from '@robustmq/kernel';
import { openedShard } from './opened-shard.ts';
import type { Session } from './session.ts';

/** One exactly-once publish of the client that is not complete. */
interface Exchange {
  /** Null: the message was dropped, and no shard knows of it. */
  readonly shard: ShardId | null;
  /** `publishing`: not committed yet; `recorded`: PUBREC was sent; `releasing`: PUBREL came. */
  phase: 'publishing' | 'recorded' | 'releasing';
  /** Whether it was begun on this connection: only then it counts against Receive Maximum. */
  readonly counted: boolean;
}

/**
 * QoS 2 publishes of a client by packet id, from PUBLISH to PUBCOMP. A logged session's are known to the data shards as
 * well, from where a resumed session takes them (docs/semantics.md 4.2).
 */
export class InboundExchanges {
  readonly #session: Session;
  readonly #open = new Map<number, Exchange>();
  #recorded = 0;
  #resumed = false;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Exchanges of this connection whose PUBREC was sent: the client counts them until PUBCOMP. */
  get recordedCount(): number {
    return this.#recorded;
  }

  phaseOf(packetId: number): Exchange['phase'] | undefined {
    return this.#open.get(packetId)?.phase;
  }

  /** A new publish goes to `shard`. */
  begin(packetId: number, shard: ShardId): void {
    this.#open.set(packetId, { shard, phase: 'publishing', counted: true });
  }

  /** A publish that is acknowledged and goes nowhere. */
  dropped(packetId: number): void {
    this.#open.set(packetId, { shard: null, phase: 'publishing', counted: true });
  }

  /** It is committed: PUBREC follows. */
  recorded(packetId: number): void {
    const exchange = this.#open.get(packetId);
    if (exchange?.phase !== 'publishing') return;
    exchange.phase = 'recorded';
    this.#recorded++;
  }

  /** It was refused, and so is over. */
  refused(packetId: number): void {
    this.#open.delete(packetId);
  }

  /**
   * PUBREL: calls `done` when the exchange is over everywhere; false when the id was never in use. A PUBREL that comes
   * before the commit, or a second one, waits for the first. In a resumed session an unknown id is one whose PUBCOMP was
   * lost: "not an error during recovery" (MQTT 5.0, 3.7.2.1), while clients take the code for one (MQTT.js: it was not published).
   */
  release(packetId: number, done: (found: boolean) => void): void {
    const exchange = this.#open.get(packetId);
    if (exchange === undefined) {
      done(this.#resumed);
      return;
    }
    if (exchange.phase !== 'recorded') return;
    const { log, kernel } = this.#session;
    if (log === null || exchange.shard === null) {
      this.#over(packetId);
      done(true);
      return;
    }
    exchange.phase = 'releasing';
    const shard = kernel.readyShard(exchange.shard);
    if (shard !== null) this.#release(shard, packetId, done);
    else {
      openedShard(kernel, exchange.shard).then(
        (opened) => {
          if (opened !== null) this.#release(opened, packetId, done);
          else {
            this.#over(packetId);
            done(true);
          }
        },
        (error: RobustError<KernelErrorCode>) => this.#session.connection.failed(error),
      );
    }
  }

  #release(shard: Shard, packetId: number, done: (found: boolean) => void): void {
    const { state, context, connection } = this.#session;
    context.releases.add(shard, { producerId: state.producerId, token: packetId }, (error) => {
      if (error !== null) {
        connection.failed(error);
        return;
      }
      this.#over(packetId);
      done(true);
    });
  }

  #over(packetId: number): void {
    if (this.#open.get(packetId)?.counted === true) this.#recorded--;
    this.#open.delete(packetId);
  }

  /** Takes the open exchanges of a session that is resumed from the shards it published to. */
  async load(): Promise<void> {
    this.#resumed = true;
    const { state, kernel } = this.#session;
    for (const id of state.inboundShards) {
      const shard = await openedShard(kernel, id);
      if (shard === null) {
        state.inboundShards.delete(id);
        continue;
      }
      for (const token of shard.tokens.openOf(state.producerId)) {
        if (token > 0xffff || this.#open.has(token)) continue;
        this.#open.set(token, { shard: id, phase: 'recorded', counted: false });
      }
    }
  }
}
