import { api, request, response } from '../api.ts';
import { array, bool, int16, int32, int8, string } from '../schema.ts';
import { operationsNotIncluded } from './metadata.ts';

/** The cluster's id and brokers. */
export const describeCluster = api(
  { key: 60, name: 'DescribeCluster', versions: '0-2', flexible: 0 },
  request({
    includeClusterAuthorizedOperations: bool(),
    endpointType: int8('1+', { default: 1 }),
    includeFencedBrokers: bool('2+'),
  }),
  response({
    throttleTimeMs: int32(),
    errorCode: int16(),
    errorMessage: string('0+', { nullable: '0+', default: null }),
    endpointType: int8('1+', { default: 1 }),
    clusterId: string(),
    controllerId: int32('0+', { default: -1 }),
    brokers: array({
      brokerId: int32(),
      host: string(),
      port: int32(),
      rack: string('0+', { nullable: '0+', default: null }),
      isFenced: bool('2+'),
    }),
    clusterAuthorizedOperations: int32('0+', { default: operationsNotIncluded }),
  }),
);
