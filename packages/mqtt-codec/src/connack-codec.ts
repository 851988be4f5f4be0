import type { BodyReader } from './body-reader.ts';
import { BodyWriter } from './body-writer.ts';
import { malformed, protocolError } from './error.ts';
import type { ConnackPacket, ProtocolVersion } from './packet.ts';
import { noProperties } from './property-codec.ts';
import { place } from './property.ts';
import { allowedReasonCodes, connectReturnCodeOf, reasonCode } from './reason-code.ts';

export function decodeConnack(body: BodyReader, version: ProtocolVersion): ConnackPacket {
  const flags = body.u8();
  // MQTT-3.2.2-1
  if (flags > 1) throw malformed('CONNACK has reserved flags set');
  const code = body.u8();
  if (version === 5 ? allowedReasonCodes.connack[code] === 0 : code > 5) {
    throw protocolError('CONNACK has a code that is not allowed');
  }
  // MQTT-3.2.2-6
  if (flags === 1 && code !== 0) throw protocolError('CONNACK refuses and has a session present');
  const properties = version === 5 ? body.properties(place.connack) : noProperties;
  body.finish();
  // In 3.1 the byte is unused.
  return { type: 'connack', sessionPresent: flags === 1 && version !== 3, reasonCode: code, properties };
}

/** CONNACK. For MQTT 3 a reason code of 0x80 or more becomes the return code that comes nearest. */
export function encodeConnack(version: ProtocolVersion, packet: Omit<ConnackPacket, 'type'>): Buffer {
  const { sessionPresent, reasonCode: code } = packet;
  const body = new BodyWriter().u8(sessionPresent && version !== 3 ? 1 : 0);
  if (version !== 5) return body.u8(code < 0x80 ? code : connectReturnCodeOf(code)).packet(0x20);
  return body.u8(code).properties(packet.properties).packet(0x20);
}

/** The answer to `MQTT_UNSUPPORTED_VERSION`: in the form of MQTT 5 to clients that are newer, of MQTT 3 to older ones. */
export function encodeUnsupportedVersion(protocolLevel: number): Buffer {
  const version = protocolLevel > 5 && protocolLevel < 0x80 ? 5 : 4;
  const refusal = {
    sessionPresent: false,
    reasonCode: reasonCode.unsupportedProtocolVersion,
    properties: {},
  };
  return encodeConnack(version, refusal);
}
