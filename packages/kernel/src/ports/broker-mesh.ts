import type { Epoch, NodeId, Offset, ShardId } from '@robustmq/core';
import type { RoutedBatch } from '../router/routed-batch.ts';

/** What a broker wants of a shard's records: the filters of its sessions, replaced as a whole per revision. */
export interface RouteRegistration {
  readonly filters: readonly string[];
}

/**
 * Records on their way from a shard's owner to a broker with matching subscriptions. A committed frame covers every
 * committed record in `[from, to)`; `from` is the previous frame's `to` on the same link, and a receiver that sees a
 * gap reads the missing range through cursors (docs/semantics.md 3.3).
 */
export interface RouteFrame {
  readonly shard: ShardId;
  readonly epoch: Epoch;
  readonly from: Offset;
  readonly to: Offset;
  readonly batches: readonly RoutedBatch[];
}

export interface MeshListener {
  /** At-most-once deliveries, routed when the owner appended; no continuity. */
  appended(frame: RouteFrame): void;
  /** Committed records with continuity. */
  committed(frame: RouteFrame): void;
}

/** How brokers reach each other: batches of routes. The kernel's own `LocalMesh` serves one process. */
export interface BrokerMesh {
  readonly self: NodeId;
  /** Where this broker's router takes frames. Set once, before `start`. */
  listen(listener: MeshListener): void;
  /** Tells the owners of the shards that may match; resolves to {shard -> first offset that will be routed}. */
  register(added: readonly string[], removed: readonly string[]): Promise<ReadonlyMap<ShardId, Offset>>;
  /** From the owner to all interested brokers, itself included. */
  appended(frame: RouteFrame): void;
  committed(frame: RouteFrame): void;
}
