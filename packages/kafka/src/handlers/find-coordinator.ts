import { decodeRequest, encodeResponse, errorCodes, findCoordinator } from '@robustmq/kafka-codec';
import type { ErrorNumber } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';

const groupKey = 0;
const transactionKey = 1;
/** From here on a request names several keys. */
const batchVersion = 4;

/** The coordinator of groups is this broker. Transactions and share groups do not exist yet and are refused. */
export function handleFindCoordinator(context: KafkaContext, request: Request): Answer {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(findCoordinator, apiVersion, request.frame, request.bodyStart);
  const errorCode = refusalOf(body.keyType);
  const refused = errorCode !== errorCodes.NONE;
  const node = refused ? { nodeId: -1, host: '', port: -1 } : context.broker();
  if (apiVersion < batchVersion) {
    return encodeResponse(findCoordinator, apiVersion, correlationId, {
      errorCode,
      errorMessage: null,
      ...node,
    });
  }
  return encodeResponse(findCoordinator, apiVersion, correlationId, {
    coordinators: body.coordinatorKeys.map((key) => ({ key, ...node, errorCode, errorMessage: null })),
  });
}

function refusalOf(keyType: number): ErrorNumber {
  if (keyType === groupKey) return errorCodes.NONE;
  return keyType === transactionKey
    ? errorCodes.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    : errorCodes.INVALID_REQUEST;
}
