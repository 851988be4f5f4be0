import { api, request, response } from '../api.ts';
import { array, bool, bytes, int16, int32, string } from '../schema.ts';
import { operationsNotIncluded } from './metadata.ts';

/** State and members of classic groups. */
export const describeGroups = api(
  { key: 15, name: 'DescribeGroups', versions: '0-6', flexible: 5 },
  request({
    groups: array(string()),
    includeAuthorizedOperations: bool('3+'),
  }),
  response({
    throttleTimeMs: int32('1+', { ignorable: true }),
    groups: array({
      errorCode: int16(),
      errorMessage: string('6+', { nullable: '6+', default: null }),
      groupId: string(),
      groupState: string(),
      protocolType: string(),
      protocolData: string(),
      members: array({
        memberId: string(),
        groupInstanceId: string('4+', { nullable: '4+', default: null, ignorable: true }),
        clientId: string(),
        clientHost: string(),
        memberMetadata: bytes(),
        memberAssignment: bytes(),
      }),
      authorizedOperations: int32('3+', { default: operationsNotIncluded }),
    }),
  }),
);
