import { api, request, response } from '../api.ts';
import { array, bool, int16, int32, int64, string, uuid } from '../schema.ts';

/** Reads committed offsets: of one group up to version 7, of several from 8 on. */
export const offsetFetch = api(
  { key: 9, name: 'OffsetFetch', versions: '1-10', flexible: 6 },
  request({
    groupId: string('0-7'),
    topics: array({ name: string(), partitionIndexes: array(int32()) }, '0-7', { nullable: '2-7' }),
    groups: array(
      {
        groupId: string(),
        memberId: string('9+', { nullable: '9+', default: null, ignorable: true }),
        memberEpoch: int32('9+', { default: -1, ignorable: true }),
        topics: array(
          {
            name: string('8-9', { ignorable: true }),
            topicId: uuid('10+', { ignorable: true }),
            partitionIndexes: array(int32()),
          },
          '0+',
          { nullable: '8+' },
        ),
      },
      '8+',
    ),
    requireStable: bool('7+'),
  }),
  response({
    throttleTimeMs: int32('3+', { ignorable: true }),
    topics: array(
      {
        name: string(),
        partitions: array({
          partitionIndex: int32(),
          committedOffset: int64(),
          committedLeaderEpoch: int32('5-7', { default: -1, ignorable: true }),
          metadata: string('0+', { nullable: '0-7' }),
          errorCode: int16(),
        }),
      },
      '0-7',
    ),
    errorCode: int16('2-7', { ignorable: true }),
    groups: array(
      {
        groupId: string(),
        topics: array({
          name: string('8-9', { ignorable: true }),
          topicId: uuid('10+', { ignorable: true }),
          partitions: array({
            partitionIndex: int32(),
            committedOffset: int64(),
            committedLeaderEpoch: int32('8+', { default: -1, ignorable: true }),
            metadata: string('0+', { nullable: '8+' }),
            errorCode: int16(),
          }),
        }),
        errorCode: int16('8+'),
      },
      '8+',
    ),
  }),
);
