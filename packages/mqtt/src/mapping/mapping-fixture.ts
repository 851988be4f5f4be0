import type { Epoch, ShardId, TopicId } from '@robustmq/core';
import { assert } from '@robustmq/core';
import type { DeliveryBatch, MetadataImage, RetainedRecord, TopicRecord } from '@robustmq/kernel';
import { noMatch, PublishMessage, SubjectTable, topicKey } from '@robustmq/kernel';
import type { ProtocolVersion, PublishPacket, PublishView } from '@robustmq/mqtt-codec';
import {
  encodePublish,
  PacketCollector,
  PacketReader,
  publishFirstByte,
  writeTemplate,
} from '@robustmq/mqtt-codec';
import { BatchEncoder, batchHeaderBytes, HeaderCursor, HeaderEncoder, RecordTable } from '@robustmq/record';
import type { PublishToken } from './inbound.ts';
import { InboundMapping } from './inbound.ts';
import type { MappingFault } from './mapping-fault.ts';
import type { OutboundForm } from './outbound.ts';
import { OutboundMessage } from './outbound.ts';

/** A header as tests write it; a string stands for its UTF-8. */
export type HeaderText = readonly [name: string | Buffer, value: string | Buffer | null];

/** A record as a client of the other protocol produces it. */
export interface ProducedRecord {
  key?: string | Buffer | null;
  value?: string | Buffer | null;
  headers?: readonly HeaderText[];
}

const tenant = 'test';
const packetBytesMax = 8 * 1024 * 1024;

/**
 * What lies between two clients, without a broker: packets become records of a real batch and records become packets, by
 * way of the codecs. Topics: `mqtt` takes all names but those of `plant`, which is bound; `orders` is not. Not exported.
 */
export class MappingFixture {
  /** Time of every publish, ms. */
  readonly now = 1_700_000_000_000;
  readonly message = new PublishMessage();
  readonly outbound = new OutboundMessage();
  readonly #topics = new Map<string, TopicRecord>();
  readonly #subjects: SubjectTable;
  /** By client id: a connection keeps its mapping for all it publishes. */
  readonly #mappings = new Map<string, InboundMapping>();

  constructor() {
    for (const name of ['mqtt', 'plant', 'orders']) this.#addTopic(name);
    const image: MetadataImage = {
      revision: 1,
      clusterId: 'test',
      topics: new Map([...this.#topics.values()].map((topic) => [topic.id, topic])),
      topicsByName: new Map([...this.#topics].map(([name, topic]) => [topicKey(tenant, name), topic])),
      shards: new Map(),
      journals: new Map(),
      brokers: new Map(),
    };
    this.#subjects = new SubjectTable({ image: () => image, tenant, defaultTopic: 'mqtt' });
  }

  #addTopic(name: string): void {
    const id = this.#topics.size + 1;
    this.#topics.set(name, {
      id: id.toString(16).padStart(32, '0') as TopicId,
      tenant,
      name,
      internal: false,
      config: new Map(name === 'plant' ? [['subject.bind', 'true']] : []),
      shards: [id as ShardId],
      createdRevision: 1,
    });
  }

  /** Fills `message` as the connection of `clientId` does; its subject too. */
  fill(
    packet: Partial<PublishPacket>,
    how: { version?: ProtocolVersion; clientId?: string; token?: PublishToken } = {},
  ): MappingFault | null {
    const { clientId = 'client' } = how;
    const mapping = this.#mappings.get(clientId) ?? new InboundMapping(clientId);
    this.#mappings.set(clientId, mapping);
    const whole = { ...emptyPublish, ...packet };
    let fault: MappingFault | null = null;
    readPublish(encodePublish(how.version ?? 5, whole), how.version ?? 5, (view) => {
      fault = mapping.fill(view, this.message, this.now, how.token ?? null);
      this.message.subject = this.#subjects.forPublish(view.topic());
    });
    return fault;
  }

  /** What a broker stores of a PUBLISH that is not refused. */
  publish(packet: Partial<PublishPacket>, how: Parameters<MappingFixture['fill']>[1] = {}): DeliveryBatch {
    assert(this.fill(packet, how) === null, 'the message is not refused');
    return this.stored();
  }

  /** What a broker stores of `message`. */
  stored(): DeliveryBatch {
    const { record, subject } = this.message;
    record.setKey(subject.key);
    const encoder = new BatchEncoder();
    encoder.append(record);
    return this.#batch(subject.topic, encoder, true);
  }

  /** Records of a topic as another client's batch holds them. */
  produce(topic: string, records: readonly ProducedRecord[], brokerEncoded = false): DeliveryBatch {
    const encoder = new BatchEncoder();
    const { record } = new PublishMessage();
    for (const { key = null, value = '', headers = [] } of records) {
      const block = new HeaderEncoder();
      for (const [name, text] of headers) block.add(bytesOf(name)!, bytesOf(text));
      record.timestamp = this.now;
      encoder.append(record.setKey(bytesOf(key)).setValue(bytesOf(value)).setHeaders(block));
    }
    return this.#batch(this.#topics.get(topic)!, encoder, brokerEncoded);
  }

  #batch(topic: TopicRecord, encoder: BatchEncoder, brokerEncoded: boolean): DeliveryBatch {
    const { count, baseTimestamp } = encoder;
    const bytes = encoder.finish();
    const records = new RecordTable().read(bytes, batchHeaderBytes, bytes.length, { count, baseTimestamp });
    const rows = Array.from({ length: count }, (_, row) => row);
    return {
      shard: topic.shards[0]!,
      epoch: 1 as Epoch,
      baseOffset: 0,
      brokerEncoded,
      records,
      subjects: rows.map((row) =>
        this.#subjects.forRecord(topic, bytes, records.keyStart[row]!, records.keyEnd[row]!),
      ),
      matches: rows.map(() => noMatch),
    };
  }

  /** The packet that a subscriber gets of a row. */
  deliver(batch: DeliveryBatch, form: Partial<OutboundForm> = {}, version: ProtocolVersion = 5, row = 0) {
    this.outbound.read(batch, row);
    return this.packet(form, version);
  }

  /** The packet that a subscriber gets of a retained copy of the batch's first record. */
  deliverRetained(batch: DeliveryBatch, form: Partial<OutboundForm> = {}, version: ProtocolVersion = 5) {
    this.outbound.readRetained(retainedOf(batch));
    return this.packet(form, version);
  }

  /** The packet of what `outbound` holds, which is the same whichever way it is made. */
  packet(form: Partial<OutboundForm>, version: ProtocolVersion): Omit<PublishPacket, 'type'> {
    const whole = { ...plainForm, now: this.now, ...form };
    const { outbound } = this;
    const bytes = Buffer.alloc(outbound.size(version, whole) + 2, 0xee);
    const end = outbound.write(bytes, 1, version, whole);
    assert(end === bytes.length - 1, 'a message has the size that was told');
    assert(bytes[0] === 0xee && bytes[end] === 0xee, 'a message stays within its size');
    const template = outbound.template(version, whole);
    assert(template === outbound.template(version, whole), 'a template is made once');
    const copy = Buffer.alloc(template.bytes.length);
    const firstByte =
      whole.qos === 0
        ? template.bytes[0]!
        : publishFirstByte(whole.qos, (template.bytes[0]! & 1) === 1, whole.dup);
    writeTemplate(copy, 0, template, { firstByte, packetId: whole.packetId });
    assert(copy.equals(bytes.subarray(1, end)), 'a template is what a single receiver gets');
    const collector = new PacketCollector();
    const reader = new PacketReader({ role: 'client', maxPacketBytes: packetBytesMax });
    reader.version = version;
    reader.push(bytes.subarray(1, end), collector);
    const { type, ...packet } = collector.packets[0]!;
    assert(type === 'publish' && collector.packets.length === 1, 'a message is one PUBLISH');
    return packet as Omit<PublishPacket, 'type'>;
  }
}

/** The headers of a row but `mq`, as text. */
export function headersOf(batch: DeliveryBatch, row = 0): [string, string | null][] {
  return allHeadersOf(batch, row)
    .filter(([name]) => name !== 'mq')
    .map(([name, value]) => [name, value === null ? null : value.toString()]);
}

/** All headers of a row. */
export function allHeadersOf(batch: DeliveryBatch, row = 0): [string, Buffer | null][] {
  const { records } = batch;
  const cursor = records.headers(row, new HeaderCursor());
  const headers: [string, Buffer | null][] = [];
  while (cursor.next()) {
    const value = cursor.valueStart < 0 ? null : records.buffer.subarray(cursor.valueStart, cursor.valueEnd);
    headers.push([records.buffer.toString('utf8', cursor.nameStart, cursor.nameEnd), value]);
  }
  return headers;
}

function retainedOf(batch: DeliveryBatch): RetainedRecord {
  const { records } = batch;
  return {
    subject: batch.subjects[0]!.name,
    sourceOffset: 0,
    timestamp: records.timestamp(0),
    value: Buffer.from(records.value(0) ?? ''),
    headers: Buffer.from(records.buffer.subarray(records.headersStart[0], records.headersEnd[0])),
    headerCount: records.headerCount[0]!,
  };
}

function readPublish(bytes: Buffer, version: ProtocolVersion, use: (view: PublishView) => void): void {
  const reader = new PacketReader({ role: 'server', maxPacketBytes: packetBytesMax });
  reader.version = version;
  reader.push(bytes, { publish: use, ack: () => undefined, packet: () => undefined });
}

function bytesOf(text: string | Buffer | null): Buffer | null {
  return typeof text === 'string' ? Buffer.from(text) : text;
}

const emptyPublish: Omit<PublishPacket, 'type'> = {
  qos: 0,
  retain: false,
  dup: false,
  packetId: 1,
  topic: 'a/b',
  payload: Buffer.alloc(0),
  properties: {},
};

const plainForm: Omit<OutboundForm, 'now'> = {
  qos: 0,
  retain: false,
  dup: false,
  packetId: 1,
  properties: null,
};
