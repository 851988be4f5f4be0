import { RobustError } from '@robustmq/core';
import { reasonCode } from './reason-code.ts';

/** Everything this package throws. Each code but `MQTT_UNENCODABLE` is about what the peer sent. */
export type MqttCodecErrorCode =
  /** Bytes that are no packet: truncated or trailing fields, reserved bits, unknown ids, text that is not allowed. */
  | 'MQTT_MALFORMED'
  /** A well-formed packet at the wrong place: wrong direction, property or value. */
  | 'MQTT_PROTOCOL_ERROR'
  /** The declared length exceeds the reader's limit; raised before anything is buffered. */
  | 'MQTT_TOO_LARGE'
  /** CONNECT of another protocol level; `detail.protocolLevel` has it. */
  | 'MQTT_UNSUPPORTED_VERSION'
  | 'MQTT_TOPIC_ALIAS_INVALID'
  /** A topic name beyond our limits of length or levels. */
  | 'MQTT_TOPIC_INVALID'
  /** A topic filter beyond our limits of length or levels. */
  | 'MQTT_FILTER_INVALID'
  | 'MQTT_CLIENT_ID_INVALID'
  | 'MQTT_CREDENTIALS_INVALID'
  /** More user properties or topic filters in one packet than we take. */
  | 'MQTT_QUOTA_EXCEEDED'
  /** Ours: a value to be encoded does not fit its field. */
  | 'MQTT_UNENCODABLE';

const reasonCodes = {
  MQTT_MALFORMED: reasonCode.malformedPacket,
  MQTT_PROTOCOL_ERROR: reasonCode.protocolError,
  MQTT_TOO_LARGE: reasonCode.packetTooLarge,
  MQTT_UNSUPPORTED_VERSION: reasonCode.unsupportedProtocolVersion,
  MQTT_TOPIC_ALIAS_INVALID: reasonCode.topicAliasInvalid,
  MQTT_TOPIC_INVALID: reasonCode.topicNameInvalid,
  MQTT_FILTER_INVALID: reasonCode.topicFilterInvalid,
  MQTT_CLIENT_ID_INVALID: reasonCode.clientIdentifierNotValid,
  MQTT_CREDENTIALS_INVALID: reasonCode.badUserNameOrPassword,
  MQTT_QUOTA_EXCEEDED: reasonCode.quotaExceeded,
  MQTT_UNENCODABLE: reasonCode.implementationSpecificError,
} as const satisfies Record<MqttCodecErrorCode, number>;

/** The one way this package makes an error: `detail.reasonCode` is what a v5 peer may be told. */
export function codecError(
  code: MqttCodecErrorCode,
  message: string,
  detail: Record<string, unknown> = {},
): RobustError<MqttCodecErrorCode> {
  return new RobustError(code, message, { detail: { reasonCode: reasonCodes[code], ...detail } });
}

export function malformed(message: string): RobustError<MqttCodecErrorCode> {
  return codecError('MQTT_MALFORMED', message);
}

export function protocolError(message: string): RobustError<MqttCodecErrorCode> {
  return codecError('MQTT_PROTOCOL_ERROR', message);
}
