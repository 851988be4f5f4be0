import { writeReason } from './ack-codec.ts';
import type { BodyReader } from './body-reader.ts';
import { BodyWriter } from './body-writer.ts';
import { protocolError } from './error.ts';
import type { DisconnectPacket, ProtocolVersion } from './packet.ts';
import { noProperties } from './property-codec.ts';
import { place } from './property.ts';
import { allowedReasonCodes } from './reason-code.ts';

/** DISCONNECT; `fromClient` decides which codes and properties are allowed (MQTT-3.14.2-1, MQTT-3.14.2-2). */
export function decodeDisconnect(
  body: BodyReader,
  version: ProtocolVersion,
  fromClient: boolean,
): DisconnectPacket {
  let code = 0;
  let properties = noProperties as DisconnectPacket['properties'];
  if (version === 5 && body.remaining > 0) {
    code = body.u8();
    const allowed = fromClient
      ? allowedReasonCodes.disconnectFromClient
      : allowedReasonCodes.disconnectFromServer;
    if (allowed[code] === 0) throw protocolError('DISCONNECT has a code that is not allowed');
    if (body.remaining > 0) {
      properties = body.properties(fromClient ? place.disconnectFromClient : place.disconnectFromServer);
    }
  }
  body.finish();
  return { type: 'disconnect', reasonCode: code, properties };
}

/** DISCONNECT; before MQTT 5 only a client sends it and it says nothing. */
export function encodeDisconnect(version: ProtocolVersion, packet: Omit<DisconnectPacket, 'type'>): Buffer {
  const body = new BodyWriter();
  if (version === 5) writeReason(body, packet.reasonCode, packet.properties);
  return body.packet(0xe0);
}
