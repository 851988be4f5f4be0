import { decodeRequest, describeCluster, encodeResponse, errorCodes } from '@robustmq/kafka-codec';
import type { Answer, KafkaContext, Request } from '../adapter.ts';

const brokersEndpoint = 1;

/** The cluster's id and brokers. Controllers have no listener of their own to tell of. */
export function handleDescribeCluster(context: KafkaContext, request: Request): Answer {
  const { apiVersion, correlationId } = request;
  const body = decodeRequest(describeCluster, apiVersion, request.frame, request.bodyStart);
  const { nodeId, host, port } = context.broker();
  const known = body.endpointType === brokersEndpoint;
  return encodeResponse(describeCluster, apiVersion, correlationId, {
    throttleTimeMs: 0,
    errorCode: known ? errorCodes.NONE : errorCodes.UNSUPPORTED_ENDPOINT_TYPE,
    errorMessage: known ? null : 'only brokers can be described',
    ...(apiVersion >= 1 ? { endpointType: body.endpointType } : undefined),
    clusterId: context.kernel.modules.metadata.image.clusterId,
    controllerId: known ? nodeId : -1,
    brokers: known ? [{ brokerId: nodeId, host, port }] : [],
  });
}
