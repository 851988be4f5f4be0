import { apiVersions } from './apis/api-versions.ts';
import { NameCache } from './name-cache.ts';
import { apis } from './registry.ts';
import * as wire from './wire.ts';

/** A client says the same id with every request. */
const clientIds = new NameCache();

/** The header of a request; `bodyStart` is where the body begins in the frame. */
export interface RequestHeader {
  readonly apiKey: number;
  readonly apiVersion: number;
  readonly correlationId: number;
  /** Empty if the client sent null. */
  readonly clientId: string;
  readonly bodyStart: number;
}

/** True if the header of a request of this API and version ends in tagged fields. */
export function isFlexible(apiKey: number, apiVersion: number): boolean {
  const api = apis.get(apiKey);
  return api !== undefined && apiVersion >= api.flexible && apiVersion <= api.versions.max;
}

/**
 * Reads the header of a request frame (without its length). It never refuses a key or version: the server closes
 * the connection for those, except for ApiVersions, which it answers in version 0 with error 35 whatever version
 * was asked for. The body of a version that this codec does not know begins, for its purposes, behind the client id.
 *
 * @throws `KAFKA_CODEC_TRUNCATED`, `KAFKA_CODEC_MALFORMED`, `KAFKA_CODEC_LIMIT_EXCEEDED`
 */
export function decodeRequestHeader(frame: Buffer): RequestHeader {
  const end = frame.length;
  if (end < 8) wire.short(0, end);
  const apiKey = wire.int16(frame, 0);
  const apiVersion = wire.int16(frame, 2);
  // The client id has the classic form even in the flexible header.
  const length = wire.nullableLength16(frame, 8, end);
  const clientId = length < 0 ? '' : clientIds.name(frame, 10, length);
  const clientEnd = length < 0 ? 10 : 10 + length;
  const bodyStart = isFlexible(apiKey, apiVersion) ? wire.skipTags(frame, clientEnd, end) : clientEnd;
  return { apiKey, apiVersion, correlationId: wire.int32(frame, 4), clientId, bodyStart };
}

/**
 * True if the header of a response ends in tagged fields. ApiVersions never does: the client may not know yet which
 * versions the server speaks.
 */
export function isResponseHeaderFlexible(apiKey: number, apiVersion: number): boolean {
  return apiKey !== apiVersions.key && isFlexible(apiKey, apiVersion);
}
