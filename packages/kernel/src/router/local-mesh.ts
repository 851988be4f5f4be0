import { assert } from '@robustmq/core';
import type { NodeId, Offset, ShardId } from '@robustmq/core';
import type { BrokerMesh, MeshListener, RouteFrame } from '../ports/broker-mesh.ts';

/** The next offset that the owner will route, of each of its shards that a filter can match. */
export type OwnedNext = (filter: string) => ReadonlyMap<ShardId, Offset>;

/**
 * The mesh of a single broker, which owns every shard itself: a frame is with the listener when the call returns, and
 * a registration holds at once.
 */
export class LocalMesh implements BrokerMesh {
  readonly self: NodeId;
  readonly #ownedNext: OwnedNext;
  #listener: MeshListener | null = null;

  constructor(self: NodeId, ownedNext: OwnedNext = () => new Map()) {
    this.self = self;
    this.#ownedNext = ownedNext;
  }

  listen(listener: MeshListener): void {
    assert(this.#listener === null, 'a mesh has one listener');
    this.#listener = listener;
  }

  async register(added: readonly string[]): Promise<ReadonlyMap<ShardId, Offset>> {
    const next = new Map<ShardId, Offset>();
    for (const filter of added) {
      for (const [shard, offset] of this.#ownedNext(filter)) next.set(shard, offset);
    }
    return next;
  }

  appended(frame: RouteFrame): void {
    this.#listener?.appended(frame);
  }

  committed(frame: RouteFrame): void {
    this.#listener?.committed(frame);
  }
}
