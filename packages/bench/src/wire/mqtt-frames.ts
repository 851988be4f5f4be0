/** MQTT 3.1.1 control packets as whole frames, made once and written many times. */

const protocol = Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4]);
const cleanSession = 0x02;

/** A CONNECT without a keep alive, so that an idle connection stays silent; a session is clean unless it is kept. */
export function connectFrame(clientId: string, keepsSession = false): Buffer {
  return frame(0x10, [protocol, Buffer.from([keepsSession ? 0 : cleanSession, 0, 0]), text(clientId)]);
}

export function subscribeFrame(packetId: number, filter: string, qos: 0 | 1): Buffer {
  return frame(0x82, [u16(packetId), text(filter), Buffer.from([qos])]);
}

/** A PUBLISH at QoS 0. */
export function publishFrame(topic: string, payload: Uint8Array): Buffer {
  return frame(0x30, [text(topic), payload]);
}

/** A PUBLISH at QoS 1; `packetIdAt` (right behind the topic) and `payloadAt` are positions in the frame, for patching. */
export interface QosOneFrame {
  readonly bytes: Buffer;
  readonly packetIdAt: number;
  readonly payloadAt: number;
}

export function publishQosOneFrame(topic: string, payload: Uint8Array): QosOneFrame {
  const bytes = frame(0x32, [text(topic), u16(0), payload]);
  const payloadAt = bytes.length - payload.length;
  return { bytes, packetIdAt: payloadAt - 2, payloadAt };
}

export const disconnectFrame = Buffer.from([0xe0, 0]);

/** `count` PUBACKs end to end for the packet ids at the beginning of `packetIds`. */
export function pubackFrames(packetIds: Uint16Array, count: number): Buffer {
  const frames = Buffer.allocUnsafe(count * 4);
  for (let i = 0; i < count; i++) {
    frames.writeUInt16BE(0x4002, i * 4);
    frames.writeUInt16BE(packetIds[i] as number, i * 4 + 2);
  }
  return frames;
}

/** `count` copies of one frame end to end, so that any number of publishes up to `count` is one write. */
export function repeatFrame(one: Uint8Array, count: number): Buffer {
  const bytes = Buffer.allocUnsafe(one.length * count);
  for (let i = 0; i < count; i++) bytes.set(one, i * one.length);
  return bytes;
}

/** Fixed header (1 byte and the remaining length) in front of the joined parts. */
function frame(first: number, parts: readonly Uint8Array[]): Buffer {
  let remaining = 0;
  for (const part of parts) remaining += part.length;
  const header = [first];
  let rest = remaining;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    header.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return Buffer.concat([Buffer.from(header), ...parts]);
}

function u16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u16(bytes.length), bytes]);
}
