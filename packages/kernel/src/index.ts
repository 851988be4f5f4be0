export type { CatchUpReader, DeliveryBatch, DeliveryPort } from './delivery/delivery-port.ts';
export type { SubscribeRequest } from './delivery/subscription-table.ts';
export { SubscriptionTable } from './delivery/subscription-table.ts';
export { CatchUp } from './delivery/catch-up.ts';
export { Dispatcher } from './delivery/dispatcher.ts';
export type { RecordTaker } from './delivery/record-lookup.ts';
export { RecordLookup } from './delivery/record-lookup.ts';
export type { KernelErrorCode } from './errors.ts';
export type { FoldItem, FoldKind, FoldRecord, WaitingReader } from './folds/fold-kind.ts';
export { FoldShard } from './folds/fold-shard.ts';
export type { FoldListener } from './folds/folds.ts';
export { Fold, Folds } from './folds/folds.ts';
export type { ProducerBatch, SequenceVerdict } from './folds/producer-table.ts';
export type { RetainedRecord } from './folds/retained.ts';
export type { KernelModules, KernelOptions } from './kernel.ts';
export { Kernel } from './kernel.ts';
export { Appender } from './log/appender.ts';
export type { EntryHeader } from './log/entry.ts';
export {
  batchPrefixBytes,
  checkEntry,
  decodeEntryHeader,
  encodeEntryHeader,
  entryBytesMax,
  entryCrcOf,
  entryFlag,
  entryHeaderBytes,
  entryLengthAt,
} from './log/entry.ts';
export type { BatchListener } from './log/log-batch.ts';
export { LogBatch } from './log/log-batch.ts';
export type { ReadOptions } from './log/shard-reader.ts';
export type { Header, Property } from './names/header-names.ts';
export { headerNames, headerToProperty, hiddenKeyProperty, propertyToHeader } from './names/header-names.ts';
export { isSubjectSafeRange } from './names/subject-safe.ts';
export { SubjectTable } from './names/subject-table.ts';
export type { Subject } from './names/subject.ts';
export type { MqHeader } from './names/mq-header.ts';
export { MqHeaderReader, mqHeaderName, mqHeaderPrefixBytesMax, writeMqHeader } from './names/mq-header.ts';
export type { TokenSink } from './names/tokens.ts';
export { filterTokens, keyTokens } from './names/tokens.ts';
export type { BrokerMesh, MeshListener, RouteFrame, RouteRegistration } from './ports/broker-mesh.ts';
export type * from './ports/journal-client.ts';
export type * from './ports/metadata.ts';
export { topicKey } from './ports/metadata.ts';
export { PublishMessage } from './publish/publish-message.ts';
export type { PublishRefusal } from './publish/publish-message.ts';
export { Publisher } from './publish/publisher.ts';
export { isSubjectFilter } from './router/filter.ts';
export { LocalMesh } from './router/local-mesh.ts';
export type { Guarantee, Match, Subscription } from './router/match.ts';
export { noMatch } from './router/match.ts';
export type { RoutedBatch } from './router/routed-batch.ts';
export { isSince, Router } from './router/router.ts';
export { Shard } from './shards/shard.ts';
export type { TopicConfig, TopicConfigKey } from './topic-config.ts';
export { parseTopicConfig, topicConfigKeys, validateTopicConfig } from './topic-config.ts';
export type { TopicsOptions } from './topics.ts';
export { Topics } from './topics.ts';
