export type { KernelErrorCode } from './errors.ts';
export type { EntryHeader } from './log/entry.ts';
export {
  checkEntry,
  decodeEntryHeader,
  encodeEntryHeader,
  entryBytesMax,
  entryCrcOf,
  entryFlag,
  entryHeaderBytes,
  entryLengthAt,
} from './log/entry.ts';
export type { Subject } from './names/subject.ts';
export type { BrokerMesh, MeshListener, RouteFrame, RouteRegistration } from './ports/broker-mesh.ts';
export type * from './ports/journal-client.ts';
export type * from './ports/metadata.ts';
export { topicKey } from './ports/metadata.ts';
export type { Guarantee, Match, Subscription } from './router/match.ts';
export { noMatch } from './router/match.ts';
export type { RoutedBatch } from './router/routed-batch.ts';
export type { TopicConfig, TopicConfigKey } from './topic-config.ts';
export { parseTopicConfig, topicConfigKeys, validateTopicConfig } from './topic-config.ts';
