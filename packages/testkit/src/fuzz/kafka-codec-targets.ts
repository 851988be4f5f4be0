import { isDeepStrictEqual } from 'node:util';
import { RobustError } from '@robustmq/core';
import {
  decodeRequest,
  decodeRequestHeader,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  fetch,
  FetchRequestColumns,
  produce,
  ProduceRequestCursor,
  RequestReader,
} from '@robustmq/kafka-codec';
import type { Api } from '@robustmq/kafka-codec';
import { codecTarget } from './codec-target.ts';
import { kafkaConnections, kafkaGrammar, messageSamples } from './kafka-traffic.ts';
import type { MessageSample } from './kafka-traffic.ts';
import { chunksOf } from './mutation.ts';
import type { FuzzTarget } from './target.ts';

const perVersion = 6;
const maxRequestBytes = 1024 * 1024;

/** Decoders of requests and of responses, all APIs and versions, and the reader that finds them in a stream. */
export function kafkaCodecTargets(): FuzzTarget[] {
  const samples = messageSamples(perVersion);
  return [
    messageTarget(
      'kafka requests',
      samples.filter(({ isRequest }) => isRequest),
    ),
    messageTarget(
      'kafka responses',
      samples.filter(({ isRequest }) => !isRequest),
    ),
    streamTarget(),
  ];
}

function messageTarget(name: string, samples: readonly MessageSample[]): FuzzTarget {
  const cursor = new ProduceRequestCursor();
  const columns = new FetchRequestColumns();
  return codecTarget({
    name,
    share: 3,
    grammar: kafkaGrammar,
    traffic: samples.map(({ bytes }) => [bytes]),
    decode(packets, script, budget) {
      const { api, version, isRequest } = samples[script.sequence % samples.length]!;
      for (const packet of packets) {
        const frame = packet.subarray(4);
        if (!isRequest) {
          checkResponse(api, version, frame, (decode) => budget.spend(frame.length, decode));
          continue;
        }
        const body = budget.spend(frame.length, () => attempt(() => decodeRequestHeader(frame).bodyStart));
        if (typeof body === 'string') continue;
        const decoded = budget.spend(frame.length, () =>
          attempt(() => decodeRequest(api, version, frame, body)),
        );
        if (typeof decoded !== 'string') checkRequest(api, version, decoded);
        if (api === produce) {
          const walked = attempt(() => walk(cursor, version, frame, body));
          if ((typeof walked === 'string') !== (typeof decoded === 'string')) {
            throw new Error(`Produce ${version}: ${String(walked)}, but decoded ${String(decoded)}`);
          }
        }
        if (api === fetch && typeof decoded !== 'string') columns.decode(version, frame, body);
      }
    },
  });
}

function walk(cursor: ProduceRequestCursor, version: number, frame: Buffer, body: number): null {
  cursor.open(version, frame, body);
  while (cursor.next())
    if (!cursor.byId && cursor.topicName.length > frame.length) throw new Error('a name grew');
  return null;
}

function checkRequest(api: Api, version: number, value: object): void {
  const frame = Buffer.concat(
    encodeRequest(api, { version, correlationId: 1, clientId: null }, value as never),
  ).subarray(4);
  const again = decodeRequest(api, version, frame, decodeRequestHeader(frame).bodyStart);
  if (!isDeepStrictEqual(again, value))
    throw new Error(`${api.name} ${version} is encoded otherwise than read`);
}

function checkResponse(
  api: Api,
  version: number,
  frame: Buffer,
  spend: (decode: () => unknown) => unknown,
): void {
  const value = spend(() => attempt(() => decodeResponse(api, version, frame)));
  if (typeof value === 'string') return;
  const again = Buffer.concat(encodeResponse(api, version, 1, value as never)).subarray(4);
  if (!isDeepStrictEqual(decodeResponse(api, version, again), value)) {
    throw new Error(`${api.name} ${version} is encoded otherwise than read`);
  }
}

/** What `decode` gives, or the code with which it refuses its input. */
function attempt<T>(decode: () => T): T | string {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof RobustError) || !error.code.startsWith('KAFKA_CODEC_')) throw error;
    return error.code;
  }
}

function streamTarget(): FuzzTarget {
  const traffic = kafkaConnections('fuzz', '00112233445566778899aabbccddeeff');
  return codecTarget({
    name: 'kafka streams',
    share: 1,
    grammar: kafkaGrammar,
    traffic,
    decode(packets, script, budget) {
      const bytes = Buffer.concat(packets);
      const whole = budget.spend(bytes.length, () => framesOf([bytes]));
      const cut = framesOf(chunksOf(bytes, script.cuts));
      if (!isDeepStrictEqual(cut, whole)) throw new Error('read otherwise in chunks');
      for (const frame of whole.frames) attempt(() => decodeRequestHeader(frame));
    },
  });
}

function framesOf(chunks: readonly Buffer[]): { frames: Buffer[]; end: string | boolean } {
  const reader = new RequestReader({ maxRequestBytes });
  const frames: Buffer[] = [];
  const end = attempt(() => {
    for (const chunk of chunks) reader.push(chunk, (frame) => void frames.push(Buffer.from(frame)));
    return reader.midFrame;
  });
  return { frames, end };
}
