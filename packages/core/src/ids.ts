/** A number or string that only its own constructor makes, so that two kinds of id never mix. */
export type Branded<T, Name extends string> = T & { readonly __brand: Name };

/** Topic id: 16 bytes as 32 lower-case hex digits. A re-created name gets another id. */
export type TopicId = Branded<string, 'TopicId'>;
/** Shard id: unique in the cluster, allocated by meta, below 2^31. */
export type ShardId = Branded<number, 'ShardId'>;
/** Segment id: unique in the cluster, allocated by meta, a safe integer. */
export type SegmentId = Branded<number, 'SegmentId'>;
/** Broker (or journal) node id, below 2^31. */
export type NodeId = Branded<number, 'NodeId'>;
/** Ownership epoch of a shard: only ever +1, below 2^31. */
export type Epoch = Branded<number, 'Epoch'>;
/** Record index in a shard; never a byte position. A safe integer. */
export type Offset = number;
/** Identity of one journal's disk since its last blank start: 32 hex digits. */
export type JournalUuid = Branded<string, 'JournalUuid'>;
