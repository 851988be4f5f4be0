import { writeReason } from './ack-codec.ts';
import type { BodyReader } from './body-reader.ts';
import { BodyWriter } from './body-writer.ts';
import { protocolError } from './error.ts';
import type { AuthPacket } from './packet.ts';
import { noProperties } from './property-codec.ts';
import { place } from './property.ts';
import { allowedReasonCodes } from './reason-code.ts';

/** AUTH of MQTT 5. Whether the method is that of CONNECT (MQTT-4.12.0-5) is the connection's matter. */
export function decodeAuth(body: BodyReader, fromClient: boolean): AuthPacket {
  let code = 0;
  let properties = noProperties as AuthPacket['properties'];
  if (body.remaining > 0) {
    code = body.u8();
    if (body.remaining > 0) properties = body.properties(place.auth);
  }
  body.finish();
  const allowed = fromClient ? allowedReasonCodes.authFromClient : allowedReasonCodes.authFromServer;
  // MQTT-3.15.2-1
  if (allowed[code] === 0) throw protocolError('AUTH has a code that is not allowed');
  if (properties.authenticationData !== undefined && properties.authenticationMethod === undefined) {
    throw protocolError('AUTH has authentication data without a method');
  }
  return { type: 'auth', reasonCode: code, properties };
}

/** AUTH, which only MQTT 5 has. */
export function encodeAuth(packet: Omit<AuthPacket, 'type'>): Buffer {
  const body = new BodyWriter();
  writeReason(body, packet.reasonCode, packet.properties);
  return body.packet(0xf0);
}
