import {
  advertised,
  apis,
  encodeRequest,
  encodeResponse,
  fetch,
  heartbeat,
  initProducerId,
  joinGroup,
  leaveGroup,
  metadata,
  offsetCommit,
  offsetFetch,
  produce,
  syncGroup,
} from '@robustmq/kafka-codec';
import type { Api } from '@robustmq/kafka-codec';
import { batchHeaderBytes, computeBatchCrc } from '@robustmq/record';
import { SimRandom } from '@robustmq/sim';
import { batchOf, requestBytes } from '../kafka-fixture.ts';
import { sampleRequests } from '../kafka-requests.ts';
import { messageValue } from './message-values.ts';
import type { Grammar } from './mutation.ts';

const crcAt = 17;

/** Kafka requests and responses: an int32 that says how much follows, and that; record batches within. */
export const kafkaGrammar: Grammar = {
  reframe: (packet) => framed(Math.max(0, packet.length - 4), packet.subarray(4)),
  reseal(packet) {
    const at = batchStart(packet);
    if (at === -1) return;
    const end = at + 12 + packet.readInt32BE(at + 8);
    packet.writeUInt32BE(computeBatchCrc(packet, at, end), at + crcAt);
  },
  misstate(packet, choice) {
    const body = packet.subarray(4);
    const wrong = [
      0,
      1,
      4,
      body.length + 1,
      Math.max(0, body.length - 1),
      -1,
      0x7fff_ffff,
      1 << 24,
      -(2 ** 31),
    ];
    return framed(wrong[choice % wrong.length]!, body);
  },
};

function framed(length: number, body: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeInt32BE(length);
  return Buffer.concat([head, body]);
}

/** Where a record batch that lies wholly within the packet begins, or -1. */
function batchStart(packet: Buffer): number {
  for (let at = 4; at + batchHeaderBytes <= packet.length; at++) {
    if (packet[at + 16] !== 2 || packet.readInt32BE(at) !== 0) continue;
    const bytes = 12 + packet.readInt32BE(at + 8);
    if (bytes >= batchHeaderBytes && bytes <= packet.length - at) return at;
  }
  return -1;
}

/** One direction of an API in one version, with a message of it: its length, a header and a body. */
export interface MessageSample {
  readonly api: Api;
  readonly version: number;
  readonly isRequest: boolean;
  readonly bytes: Buffer;
}

/** `perVersion` messages of every API, version and direction that the codec knows, their fields at random. */
export function messageSamples(perVersion: number): MessageSample[] {
  const samples: MessageSample[] = [];
  for (const api of apis.values()) {
    for (let version = api.versions.min; version <= api.versions.max; version++) {
      for (let seed = 1; seed <= perVersion; seed++) {
        const random = new SimRandom(seed * 1000 + api.key * 20 + version);
        const request = messageValue(api.request.fields, version, random) as never;
        const response = messageValue(api.response.fields, version, random) as never;
        const envelope = { version, correlationId: 9, clientId: 'fuzz' };
        const asked = Buffer.concat(encodeRequest(api, envelope, request));
        const answered = Buffer.concat(encodeResponse(api, version, 9, response));
        samples.push({ api, version, isRequest: true, bytes: asked });
        samples.push({ api, version, isRequest: false, bytes: answered });
      }
    }
  }
  return samples;
}

/** Connections of a client, each a sequence of requests that a server answers soon, on a topic that exists. */
export function kafkaConnections(topic: string, topicId: string): Buffer[][] {
  const samples = sampleRequests(topic, topicId).map(({ bytes }) => bytes);
  const connections = [producing(topic), idempotent(topic), grouped(topic), served()];
  for (let at = 0; at < samples.length; at += 4) connections.push(samples.slice(at, at + 4));
  return connections;
}

function producing(topic: string): Buffer[] {
  const produced = (acks: number, records: Buffer, version: number): Buffer =>
    requestBytes(produce, version, {
      acks,
      timeoutMs: 1000,
      topicData: [{ name: topic, partitionData: [{ index: 0, records }] }],
    });
  const partition = { partition: 0, fetchOffset: 0, partitionMaxBytes: 2000 };
  const topics = [{ topic, partitions: [partition] }];
  return [
    requestBytes(metadata, 9, { topics: [{ name: topic }] }),
    produced(-1, batchOf(['one', 'two', 'three']), 9),
    produced(1, batchOf(['one'.repeat(100)]), 7),
    produced(0, batchOf(['none waits for this']), 3),
    requestBytes(fetch, 12, { maxWaitMs: 1, minBytes: 1, maxBytes: 2000, topics }),
    requestBytes(fetch, 4, { maxWaitMs: 1, minBytes: 1, maxBytes: 2000, topics }),
  ];
}

/** Producer ids are small and given in order: these batches meet ids that other connections were given. */
function idempotent(topic: string): Buffer[] {
  const sequences = [0, 2, 2, 4].map((baseSequence) => {
    const records = batchOf(['first', 'second'], { producerId: 1, producerEpoch: 0, baseSequence });
    const topicData = [{ name: topic, partitionData: [{ index: 1, records }] }];
    return requestBytes(produce, 9, { acks: -1, timeoutMs: 1000, topicData });
  });
  return [
    requestBytes(initProducerId, 4, { transactionalId: null, transactionTimeoutMs: 1000 }),
    ...sequences,
  ];
}

function grouped(topic: string): Buffer[] {
  const groupId = 'fuzz-group';
  const memberId = 'member';
  const protocols = [{ name: 'range', metadata: Buffer.from('subscription') }];
  const join = { groupId, memberId: '', sessionTimeoutMs: 6000, protocolType: 'consumer', protocols };
  const partitions = [{ partitionIndex: 0, committedOffset: 1, committedMetadata: 'note' }];
  const assignments = [{ memberId, assignment: Buffer.from('all of it') }];
  return [
    requestBytes(joinGroup, 2, join),
    requestBytes(syncGroup, 3, { groupId, memberId, generationId: 1, assignments }),
    requestBytes(heartbeat, 3, { groupId, memberId, generationId: 1 }),
    requestBytes(offsetCommit, 7, {
      groupId,
      memberId: '',
      generationIdOrMemberEpoch: -1,
      topics: [{ name: topic, partitions }],
    }),
    requestBytes(offsetFetch, 5, { groupId, topics: [{ name: topic, partitionIndexes: [0, 1] }] }),
    requestBytes(leaveGroup, 1, { groupId, memberId }),
  ];
}

/** One request of each API in each version that is served, with fields at random, in pieces of one connection. */
function served(): Buffer[] {
  const random = new SimRandom(5);
  return advertised.flatMap(({ apiKey, serveMin, max }) => {
    const api = apis.get(apiKey)!;
    return [serveMin, max].map((version) =>
      requestBytes(api, version, messageValue(api.request.fields, version, random) as never),
    );
  });
}
