import { api, request, response } from '../api.ts';
import { array, bytes, int16, int32, string } from '../schema.ts';

/** The leader hands in the assignment of a generation, every member receives its own part. */
export const syncGroup = api(
  { key: 14, name: 'SyncGroup', versions: '0-5', flexible: 4 },
  request({
    groupId: string(),
    generationId: int32(),
    memberId: string(),
    groupInstanceId: string('3+', { nullable: '3+', default: null }),
    protocolType: string('5+', { nullable: '5+', default: null, ignorable: true }),
    protocolName: string('5+', { nullable: '5+', default: null, ignorable: true }),
    assignments: array({ memberId: string(), assignment: bytes() }),
  }),
  response({
    throttleTimeMs: int32('1+', { ignorable: true }),
    errorCode: int16(),
    protocolType: string('5+', { nullable: '5+', default: null, ignorable: true }),
    protocolName: string('5+', { nullable: '5+', default: null, ignorable: true }),
    assignment: bytes(),
  }),
);
