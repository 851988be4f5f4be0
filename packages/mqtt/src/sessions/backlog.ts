import type { Offset, ShardId } from '@robustmq/core';
import type { CatchUpReader, DeliveryBatch, Match } from '@robustmq/kernel';
import type { Session } from './session.ts';

/** A session's cursor on one shard while it is behind the live path (docs/semantics.md 3.3). */
export class Backlog implements CatchUpReader {
  readonly subscriber: Session;
  readonly shard: ShardId;
  next: Offset;
  /** Whether the kernel's scan has it; otherwise it waits for room. */
  reading = false;

  constructor(session: Session, shard: ShardId, next: Offset) {
    this.subscriber = session;
    this.shard = shard;
    this.next = next;
  }

  get filters(): readonly string[] {
    return this.subscriber.cursorFilters();
  }

  take(batch: DeliveryBatch, row: number, match: Match): boolean {
    const taken = this.subscriber.catchUp(batch, row, match);
    if (!taken) {
      this.reading = false;
      this.subscriber.connection.outbox.hurry();
    }
    return taken;
  }

  caughtUp(): void {
    this.reading = false;
    this.subscriber.caughtUp(this);
  }

  skipped(_from: Offset, _to: Offset, why: 'lost' | 'truncated'): void {
    this.subscriber.truncated(this.shard, why);
  }
}
