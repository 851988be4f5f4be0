import { api, request, response } from '../api.ts';
import { array, bool, int16, int32, int64, string } from '../schema.ts';

/** Sizes of partitions on disk. Version 0, below Kafka 4's minimum, has the bytes of version 1. */
export const describeLogDirs = api(
  { key: 35, name: 'DescribeLogDirs', versions: '0-5', flexible: 2 },
  request({
    topics: array({ topic: string(), partitions: array(int32()) }, '0+', { nullable: '0+' }),
  }),
  response({
    throttleTimeMs: int32(),
    errorCode: int16('3+', { ignorable: true }),
    results: array({
      errorCode: int16(),
      logDir: string(),
      topics: array({
        name: string(),
        partitions: array({
          partitionIndex: int32(),
          partitionSize: int64(),
          offsetLag: int64(),
          isFutureKey: bool(),
        }),
      }),
      totalBytes: int64('4+', { default: -1, ignorable: true }),
      usableBytes: int64('4+', { default: -1, ignorable: true }),
      isCordoned: bool('5+', { ignorable: true }),
    }),
  }),
);
