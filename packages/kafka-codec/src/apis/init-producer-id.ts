import { api, request, response } from '../api.ts';
import { int16, int32, int64, string } from '../schema.ts';

/** Grants a producer its id and epoch. */
export const initProducerId = api(
  { key: 22, name: 'InitProducerId', versions: '0-5', flexible: 2 },
  request({
    transactionalId: string('0+', { nullable: '0+' }),
    transactionTimeoutMs: int32(),
    producerId: int64('3+', { default: -1 }),
    producerEpoch: int16('3+', { default: -1 }),
  }),
  response({
    throttleTimeMs: int32('0+', { ignorable: true }),
    errorCode: int16(),
    producerId: int64('0+', { default: -1 }),
    producerEpoch: int16(),
  }),
);
