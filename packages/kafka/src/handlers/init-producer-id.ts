import { decodeRequest, encodeResponse, errorCodes, initProducerId } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';
import { errorNumber } from '../error-map.ts';

/** A producer id for idempotence. Transactions do not exist yet and are refused. */
export async function handleInitProducerId(context: KafkaContext, request: Request): Promise<Answer> {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(initProducerId, apiVersion, request.frame, request.bodyStart);
  const answer = (errorCode: number, producerId: number): Answer =>
    encodeResponse(initProducerId, apiVersion, correlationId, {
      throttleTimeMs: 0,
      errorCode,
      producerId,
      producerEpoch: producerId < 0 ? -1 : 0,
    });
  if (body.transactionalId !== null) return answer(errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, -1);
  try {
    return answer(errorCodes.NONE, await context.kernel.producerIds.next());
  } catch (error) {
    return answer(errorNumber(error), -1);
  }
}
