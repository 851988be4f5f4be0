import { reasonCode } from '@robustmq/mqtt-codec';

/** Why a message can't become a record although its packet is well formed: a definite refusal. */
export interface MappingFault {
  readonly code: 'PAYLOAD_FORMAT';
  /** Of PUBACK, PUBREC or, for a will, CONNACK. */
  readonly reasonCode: number;
}

/** The payload is said to be UTF-8 text and is not (MQTT 5, 3.3.2.3.2). */
export const payloadFormatFault: MappingFault = {
  code: 'PAYLOAD_FORMAT',
  reasonCode: reasonCode.payloadFormatInvalid,
};
