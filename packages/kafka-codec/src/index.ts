export type { AdvertisedApi } from './advertised.ts';
export { advertised } from './advertised.ts';
export type { Api, RequestInput, RequestOf, ResponseInput, ResponseOf } from './api.ts';
export { alterConfigs } from './apis/alter-configs.ts';
export { apiVersions } from './apis/api-versions.ts';
export { createPartitions } from './apis/create-partitions.ts';
export { createTopics } from './apis/create-topics.ts';
export { deleteGroups } from './apis/delete-groups.ts';
export { deleteRecords } from './apis/delete-records.ts';
export { deleteTopics } from './apis/delete-topics.ts';
export { describeCluster } from './apis/describe-cluster.ts';
export { describeConfigs } from './apis/describe-configs.ts';
export { describeGroups } from './apis/describe-groups.ts';
export { describeLogDirs } from './apis/describe-log-dirs.ts';
export { fetch } from './apis/fetch.ts';
export { findCoordinator } from './apis/find-coordinator.ts';
export { heartbeat } from './apis/heartbeat.ts';
export { incrementalAlterConfigs } from './apis/incremental-alter-configs.ts';
export { initProducerId } from './apis/init-producer-id.ts';
export { joinGroup } from './apis/join-group.ts';
export { leaveGroup } from './apis/leave-group.ts';
export { listGroups } from './apis/list-groups.ts';
export { listOffsets } from './apis/list-offsets.ts';
export { metadata } from './apis/metadata.ts';
export { offsetCommit } from './apis/offset-commit.ts';
export { offsetDelete } from './apis/offset-delete.ts';
export { offsetFetch } from './apis/offset-fetch.ts';
export { offsetForLeaderEpoch } from './apis/offset-for-leader-epoch.ts';
export { produce } from './apis/produce.ts';
export { syncGroup } from './apis/sync-group.ts';
export { operationsNotIncluded } from './apis/metadata.ts';
export type { RequestEnvelope } from './codec.ts';
export {
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  encodeResponseInto,
  requestElementsMax,
  responseCorrelationId,
  responseElementsMax,
} from './codec.ts';
export type { ErrorName, ErrorNumber } from './error-codes.ts';
export { errorCodes, errorName } from './error-codes.ts';
export type { KafkaCodecErrorCode } from './errors.ts';
export { FetchRequestColumns } from './fetch-request-columns.ts';
export { gatherBytesMin } from './piece-writer.ts';
export { ProduceRequestCursor } from './produce-request-cursor.ts';
export { apis } from './registry.ts';
export type { RequestHeader } from './request-header.ts';
export { decodeRequestHeader } from './request-header.ts';
export { ownedRequestBytesMin, RequestReader } from './request-reader.ts';
export { maxInt64, zeroUuid } from './wire.ts';
