import { api, request, response } from '../api.ts';
import { array, int16, int32, int64, string } from '../schema.ts';

/** Where a leader epoch ends, so that a consumer notices a truncated log. */
export const offsetForLeaderEpoch = api(
  { key: 23, name: 'OffsetForLeaderEpoch', versions: '2-4', flexible: 4 },
  request({
    replicaId: int32('3+', { default: -2, ignorable: true }),
    topics: array({
      topic: string(),
      partitions: array({
        partition: int32(),
        currentLeaderEpoch: int32('2+', { default: -1, ignorable: true }),
        leaderEpoch: int32(),
      }),
    }),
  }),
  response({
    throttleTimeMs: int32('2+', { ignorable: true }),
    topics: array({
      topic: string(),
      partitions: array({
        errorCode: int16(),
        partition: int32(),
        leaderEpoch: int32('1+', { default: -1, ignorable: true }),
        endOffset: int64('0+', { default: -1 }),
      }),
    }),
  }),
);
