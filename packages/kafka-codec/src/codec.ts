import type { Api, Message, RequestInput, RequestOf, ResponseInput, ResponseOf } from './api.ts';
import { PieceWriter } from './piece-writer.ts';
import { isResponseHeaderFlexible } from './request-header.ts';
import * as wire from './wire.ts';

/**
 * Array elements that one request may have in all; bounds the objects that a small frame can turn into, and the time that
 * one request takes. A tenant has at most 20,000 shards.
 */
export const requestElementsMax = 128 * 1024;
/** Array elements that one response may have in all; a client reads larger answers than a server reads questions. */
export const responseElementsMax = 16 * 1024 * 1024;

/** Length, correlation id and tagged fields. */
const responseHeaderBytesMax = 9;
const slabBytesMin = 256;
const slabBytesMax = 64 * 1024;

/** What a client puts in front of a request's body. */
export interface RequestEnvelope {
  readonly version: number;
  readonly correlationId: number;
  readonly clientId: string | null;
}

/**
 * Decodes the body of a request. Fields that the version lacks read as their default; `records` are views of
 * `frame`, `bytes` are copies. Bytes behind the body are ignored, as Kafka does.
 *
 * @throws RobustError with a `KafkaCodecErrorCode`, and nothing else, whatever the bytes are
 */
export function decodeRequest<A extends Api>(
  api: A,
  version: number,
  frame: Buffer,
  bodyStart: number,
): RequestOf<A> {
  return api.request.decoder(version)(frame, bodyStart, requestElementsMax) as RequestOf<A>;
}

/**
 * Encodes a response as the pieces of one gathered write; the first starts with the length. Slices of records of
 * `gatherBytesMin` and more are pieces of their own and are not copied, so they must not change until written.
 *
 * @throws `KAFKA_CODEC_VERSION_UNSUPPORTED`, `KAFKA_CODEC_VALUE_INVALID`, `KAFKA_CODEC_FIELD_UNSUPPORTED`
 */
export function encodeResponse<A extends Api>(
  api: A,
  version: number,
  correlationId: number,
  body: ResponseInput<A>,
): Buffer[] {
  const message: Message = api.response;
  const writer = new PieceWriter(Buffer.allocUnsafe(message.slabBytes));
  writeResponse(writer, api, version, correlationId, body);
  return finish(writer, message);
}

/**
 * Encodes a response into `target` from `at` on; returns the position behind it, -1 when it does not fit or gathers slices.
 *
 * @throws what `encodeResponse` throws
 */
export function encodeResponseInto<A extends Api>(
  api: A,
  version: number,
  correlationId: number,
  body: ResponseInput<A>,
  target: { readonly bytes: Buffer; readonly at: number },
): number {
  const { bytes, at } = target;
  if (bytes.length - at < responseHeaderBytesMax) return -1;
  const writer = new PieceWriter(bytes, at);
  writeResponse(writer, api, version, correlationId, body);
  return writer.finishWithin(bytes);
}

function writeResponse(
  writer: PieceWriter,
  api: Api,
  version: number,
  correlationId: number,
  body: unknown,
): void {
  writer.int32(correlationId, 'correlationId');
  if (isResponseHeaderFlexible(api.key, version)) writer.uvarint(0);
  (api.response as Message).encoder(version)(writer, body);
}

/** Encodes a request, for clients; the result is as that of `encodeResponse`. */
export function encodeRequest<A extends Api>(
  api: A,
  envelope: RequestEnvelope,
  body: RequestInput<A>,
): Buffer[] {
  const { version, correlationId, clientId } = envelope;
  const message: Message = api.request;
  const encode = message.encoder(version);
  const writer = new PieceWriter(Buffer.allocUnsafe(message.slabBytes));
  writer.int16(api.key, 'apiKey');
  writer.int16(version, 'apiVersion');
  writer.int32(correlationId, 'correlationId');
  writer.string(clientId, 'clientId');
  if (version >= api.flexible) writer.uvarint(0);
  encode(writer, body);
  return finish(writer, message);
}

function finish(writer: PieceWriter, message: Message): Buffer[] {
  message.slabBytes = Math.min(slabBytesMax, Math.max(slabBytesMin, writer.slabBytes));
  return writer.finish();
}

/** The correlation id of a response frame (without its length). */
export function responseCorrelationId(frame: Buffer): number {
  if (frame.length < 4) wire.short(0, frame.length);
  return wire.int32(frame, 0);
}

/** Decodes the body of a response frame (without its length), for clients. */
export function decodeResponse<A extends Api>(api: A, version: number, frame: Buffer): ResponseOf<A> {
  const message: Message = api.response;
  const decode = message.decoder(version);
  if (frame.length < 4) wire.short(0, frame.length);
  const bodyStart = isResponseHeaderFlexible(api.key, version) ? wire.skipTags(frame, 4, frame.length) : 4;
  return decode(frame, bodyStart, responseElementsMax) as ResponseOf<A>;
}
