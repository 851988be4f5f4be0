import { api, request, response } from '../api.ts';
import { array, int16, int32, string } from '../schema.ts';

/** Deletes committed offsets of partitions that the group no longer subscribes to. */
export const offsetDelete = api(
  { key: 47, name: 'OffsetDelete', versions: '0' },
  request({
    groupId: string(),
    topics: array({ name: string(), partitions: array({ partitionIndex: int32() }) }),
  }),
  response({
    errorCode: int16(),
    throttleTimeMs: int32('0+', { ignorable: true }),
    topics: array({
      name: string(),
      partitions: array({ partitionIndex: int32(), errorCode: int16() }),
    }),
  }),
);
