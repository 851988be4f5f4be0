import {
  advertised,
  alterConfigs,
  apiVersions,
  createPartitions,
  createTopics,
  decodeRequest,
  deleteGroups,
  deleteRecords,
  deleteTopics,
  describeCluster,
  describeConfigs,
  describeGroups,
  describeLogDirs,
  encodeResponse,
  errorCodes,
  fetch,
  findCoordinator,
  heartbeat,
  incrementalAlterConfigs,
  initProducerId,
  joinGroup,
  leaveGroup,
  listGroups,
  listOffsets,
  metadata,
  offsetCommit,
  offsetDelete,
  offsetFetch,
  offsetForLeaderEpoch,
  produce,
  syncGroup,
} from '@robustmq/kafka-codec';
import type { Answer, Handler, Request } from '../adapter.ts';
import { handleAlterConfigs } from './alter-configs.ts';
import { handleCreatePartitions } from './create-partitions.ts';
import { handleCreateTopics } from './create-topics.ts';
import { handleDeleteGroups } from './delete-groups.ts';
import { handleDeleteRecords } from './delete-records.ts';
import { handleDeleteTopics } from './delete-topics.ts';
import { handleDescribeCluster } from './describe-cluster.ts';
import { handleDescribeConfigs } from './describe-configs.ts';
import { handleDescribeGroups } from './describe-groups.ts';
import { handleDescribeLogDirs } from './describe-log-dirs.ts';
import { handleFetch } from './fetch.ts';
import { handleFindCoordinator } from './find-coordinator.ts';
import { handleHeartbeat } from './heartbeat.ts';
import { handleIncrementalAlterConfigs } from './incremental-alter-configs.ts';
import { handleInitProducerId } from './init-producer-id.ts';
import { handleJoinGroup } from './join-group.ts';
import { handleLeaveGroup } from './leave-group.ts';
import { handleListGroups } from './list-groups.ts';
import { handleListOffsets } from './list-offsets.ts';
import { handleMetadata } from './metadata.ts';
import { handleOffsetCommit } from './offset-commit.ts';
import { handleOffsetDelete } from './offset-delete.ts';
import { handleOffsetFetch } from './offset-fetch.ts';
import { handleOffsetForLeaderEpoch } from './offset-for-leader-epoch.ts';
import { handleProduce } from './produce.ts';
import { handleSyncGroup } from './sync-group.ts';

/** Every API that this server implements; what is not here is not advertised. */
const handlers = new Map<number, Handler>([
  [produce.key, handleProduce],
  [fetch.key, handleFetch],
  [listOffsets.key, handleListOffsets],
  [metadata.key, handleMetadata],
  [findCoordinator.key, handleFindCoordinator],
  [initProducerId.key, handleInitProducerId],
  [joinGroup.key, handleJoinGroup],
  [syncGroup.key, handleSyncGroup],
  [heartbeat.key, handleHeartbeat],
  [leaveGroup.key, handleLeaveGroup],
  [offsetCommit.key, handleOffsetCommit],
  [offsetFetch.key, handleOffsetFetch],
  [offsetDelete.key, handleOffsetDelete],
  [listGroups.key, handleListGroups],
  [describeGroups.key, handleDescribeGroups],
  [deleteGroups.key, handleDeleteGroups],
  [createTopics.key, handleCreateTopics],
  [deleteTopics.key, handleDeleteTopics],
  [createPartitions.key, handleCreatePartitions],
  [deleteRecords.key, handleDeleteRecords],
  [describeCluster.key, handleDescribeCluster],
  [describeLogDirs.key, handleDescribeLogDirs],
  [offsetForLeaderEpoch.key, handleOffsetForLeaderEpoch],
  [describeConfigs.key, handleDescribeConfigs],
  [incrementalAlterConfigs.key, handleIncrementalAlterConfigs],
  [alterConfigs.key, handleAlterConfigs],
  [apiVersions.key, (_context, request) => answerApiVersions(request)],
]);

const offered = advertised.filter((api) => handlers.has(api.apiKey));
const served = new Map(offered.map((api) => [api.apiKey, api]));

/** The handler of a request; null when the connection is to be closed, as for any unknown key or version. */
export function handlerOf(apiKey: number, apiVersion: number): Handler | null {
  const api = served.get(apiKey);
  if (api === undefined) return null;
  // A client that is newer than we are asks for versions with one that we do not know, and is told ours.
  if (apiKey === apiVersions.key) return handlers.get(apiKey) ?? null;
  return apiVersion < api.serveMin || apiVersion > api.max ? null : (handlers.get(apiKey) ?? null);
}

function answerApiVersions(request: Request): Answer {
  const range = served.get(apiVersions.key)!;
  const known = request.apiVersion >= 0 && request.apiVersion <= range.max;
  // What the client says about itself is not used; that it is well-formed is checked as in any request.
  if (known) decodeRequest(apiVersions, request.apiVersion, request.frame, request.bodyStart);
  return encodeResponse(apiVersions, known ? request.apiVersion : 0, request.correlationId, {
    errorCode: known ? errorCodes.NONE : errorCodes.UNSUPPORTED_VERSION,
    apiKeys: offered.map((api) => ({ apiKey: api.apiKey, minVersion: api.min, maxVersion: api.max })),
  });
}
