import { api, request, response } from '../api.ts';
import { int16, int32, string } from '../schema.ts';

/** Keeps a classic group member alive and tells it of a rebalance. */
export const heartbeat = api(
  { key: 12, name: 'Heartbeat', versions: '0-4', flexible: 4 },
  request({
    groupId: string(),
    generationId: int32(),
    memberId: string(),
    groupInstanceId: string('3+', { nullable: '3+', default: null }),
  }),
  response({
    throttleTimeMs: int32('1+', { ignorable: true }),
    errorCode: int16(),
  }),
);
