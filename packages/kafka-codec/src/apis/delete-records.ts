import { api, request, response } from '../api.ts';
import { array, int16, int32, int64, string } from '../schema.ts';

/** Moves the start of partitions forward. */
export const deleteRecords = api(
  { key: 21, name: 'DeleteRecords', versions: '0-2', flexible: 2 },
  request({
    topics: array({
      name: string(),
      partitions: array({ partitionIndex: int32(), offset: int64() }),
    }),
    timeoutMs: int32(),
  }),
  response({
    throttleTimeMs: int32(),
    topics: array({
      name: string(),
      partitions: array({ partitionIndex: int32(), lowWatermark: int64(), errorCode: int16() }),
    }),
  }),
);
