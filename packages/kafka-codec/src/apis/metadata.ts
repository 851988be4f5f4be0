import { api, request, response } from '../api.ts';
import { array, bool, int16, int32, string, uuid } from '../schema.ts';

/** "Not asked for": the value of the authorized-operations bit sets that a server leaves out. */
export const operationsNotIncluded = -2147483648;

/**
 * Brokers, topics and partition leaders. All topics are an empty list in version 0 and null from 1 on. Versions 10
 * and 11 carry topic ids that must not be used to ask.
 */
export const metadata = api(
  { key: 3, name: 'Metadata', versions: '0-13', flexible: 9 },
  request({
    topics: array(
      {
        topicId: uuid('10+', { ignorable: true }),
        name: string('0+', { nullable: '10+' }),
      },
      '0+',
      { nullable: '1+' },
    ),
    allowAutoTopicCreation: bool('4+', { default: true }),
    includeClusterAuthorizedOperations: bool('8-10'),
    includeTopicAuthorizedOperations: bool('8+'),
  }),
  response({
    throttleTimeMs: int32('3+', { ignorable: true }),
    brokers: array({
      nodeId: int32(),
      host: string(),
      port: int32(),
      rack: string('1+', { nullable: '1+', default: null, ignorable: true }),
    }),
    clusterId: string('2+', { nullable: '2+', default: null, ignorable: true }),
    controllerId: int32('1+', { default: -1, ignorable: true }),
    topics: array({
      errorCode: int16(),
      name: string('0+', { nullable: '12+' }),
      topicId: uuid('10+', { ignorable: true }),
      isInternal: bool('1+', { ignorable: true }),
      partitions: array({
        errorCode: int16(),
        partitionIndex: int32(),
        leaderId: int32(),
        leaderEpoch: int32('7+', { default: -1, ignorable: true }),
        replicaNodes: array(int32()),
        isrNodes: array(int32()),
        offlineReplicas: array(int32(), '5+', { ignorable: true }),
      }),
      topicAuthorizedOperations: int32('8+', { default: operationsNotIncluded }),
    }),
    clusterAuthorizedOperations: int32('8-10', { default: operationsNotIncluded }),
    errorCode: int16('13+', { ignorable: true }),
  }),
);
