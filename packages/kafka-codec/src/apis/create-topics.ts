import { api, request, response } from '../api.ts';
import { array, bool, int16, int32, int8, string, uuid } from '../schema.ts';

/** Creates topics, or only checks whether it could. */
export const createTopics = api(
  { key: 19, name: 'CreateTopics', versions: '2-7', flexible: 5 },
  request({
    topics: array({
      name: string(),
      numPartitions: int32(),
      replicationFactor: int16(),
      assignments: array({ partitionIndex: int32(), brokerIds: array(int32()) }),
      configs: array({ name: string(), value: string('0+', { nullable: '0+' }) }),
    }),
    timeoutMs: int32('0+', { default: 60000 }),
    validateOnly: bool('1+'),
  }),
  response({
    throttleTimeMs: int32('2+', { ignorable: true }),
    topics: array({
      name: string(),
      topicId: uuid('7+', { ignorable: true }),
      errorCode: int16(),
      errorMessage: string('1+', { nullable: '0+', ignorable: true }),
      topicConfigErrorCode: int16('5+', { ignorable: true, tag: 0 }),
      numPartitions: int32('5+', { default: -1, ignorable: true }),
      replicationFactor: int16('5+', { default: -1, ignorable: true }),
      configs: array(
        {
          name: string(),
          value: string('0+', { nullable: '5+' }),
          readOnly: bool(),
          configSource: int8('5+', { default: -1, ignorable: true }),
          isSensitive: bool(),
        },
        '5+',
        { nullable: '5+', ignorable: true },
      ),
    }),
  }),
);
