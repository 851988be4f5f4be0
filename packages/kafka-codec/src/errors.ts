import { RobustError } from '@robustmq/core';

/**
 * What this package throws. The first five come from bytes of a peer and end its connection; the last three come
 * from a value that the caller wants to encode and are mistakes of the caller.
 */
export type KafkaCodecErrorCode =
  | 'KAFKA_CODEC_FRAME_LENGTH'
  | 'KAFKA_CODEC_TRUNCATED'
  | 'KAFKA_CODEC_MALFORMED'
  | 'KAFKA_CODEC_LIMIT_EXCEEDED'
  | 'KAFKA_CODEC_INT64_UNSAFE'
  | 'KAFKA_CODEC_VERSION_UNSUPPORTED'
  | 'KAFKA_CODEC_FIELD_UNSUPPORTED'
  | 'KAFKA_CODEC_VALUE_INVALID';

/** Makes the package's error; `detail` carries positions and field paths, never bytes of the peer. */
export function codecError(
  code: KafkaCodecErrorCode,
  message: string,
  detail: Record<string, unknown>,
): RobustError<KafkaCodecErrorCode> {
  return new RobustError<KafkaCodecErrorCode>(code, message, { detail });
}
