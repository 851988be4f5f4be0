import { RobustError, silentLogger, systemClock, systemRandom } from '@robustmq/core';
import { createKafkaAdapter } from '@robustmq/kafka';
import { deleteRecords, errorCodes, offsetCommit, offsetFetch } from '@robustmq/kafka-codec';
import { topicKey } from '@robustmq/kernel';
import type { KernelErrorCode, Metadata } from '@robustmq/kernel';
import { SimClock } from '@robustmq/sim';
import { describe, expect, it, vi } from 'vitest';
import { KafkaClient } from './kafka-client.ts';
import {
  append,
  brokerBatch,
  createShard,
  lastSegment,
  publishThrough,
  recordOf,
  valuesOf,
} from './kernel-fixture.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import type { MemoryStorage } from './memory-kernel.ts';
import { MqttBroker } from './mqtt-broker.ts';
import type { MqttClient } from './mqtt-client.ts';

describe('storage 4.1: a start', () => {
  it('raises all epochs in one command and touches no shard before its first use', async () => {
    const storage = await createMemoryStorage();
    const first = await startKernel(storage);
    const used = await createShard(first, 'used');
    const idle = await createShard(first, 'idle');
    expect(await append(used, brokerBatch(['a']))).toBe(0);
    storage.journal.crash();
    const before = storage.metadata.image.revision;
    const epochs = new Map(
      [...storage.metadata.image.shards.values()].map(({ id, ownerEpoch }) => [id, ownerEpoch]),
    );
    const kernel = await startKernel(storage);
    expect(storage.metadata.image.revision).toBe(before + 1);
    for (const [id, epoch] of epochs) expect(recordOf(storage, id).ownerEpoch).toBe(epoch + 1);
    // What the last owner left open stays open until somebody asks for it.
    expect(lastSegment(storage, used.id).state).toBe('open');
    const again = await kernel.openShard(used.id);
    expect(lastSegment(storage, used.id)).toMatchObject({ state: 'sealed', endOffset: 1 });
    expect(await valuesOf(again)).toEqual(['0:a']);
    // Only an append opens the next one.
    const segments = recordOf(storage, used.id).segments.length;
    expect(await append(again, brokerBatch(['b']))).toBe(1);
    expect(recordOf(storage, used.id).segments).toHaveLength(segments + 1);
    expect(lastSegment(storage, used.id)).toMatchObject({
      state: 'open',
      writerEpoch: epochs.get(used.id)! + 1,
    });
    expect(recordOf(storage, idle.id).segments).toHaveLength(0);
    await kernel.stop();
  });
});

describe('storage 4.1: a state shard that is lost while the process runs', () => {
  it('is recovered: its clients come back to their sessions, and what was published meanwhile is there', async () => {
    await using broker = await MqttBroker.start();
    const kept = { clientId: 's', cleanStart: false, properties: { sessionExpiry: 600 } };
    const client = await broker.connect(5, kept);
    expect(await client.subscribe('a/#', 1)).toEqual([1]);
    // One that keeps quiet does not notice that its shard is lost.
    const { journal } = broker.storage;
    const others = Array.from({ length: 40 }, (_, at) => ({ ...kept, clientId: `other ${at}` }));
    const quiet: MqttClient[] = [];
    for (const input of others) quiet.push(await broker.connect(5, input));
    journal.refuseAll = 'JOURNAL_DIVERGED';
    await client.subscribe('b/#', 1).catch(() => undefined);
    expect(broker.kernel.folds.complete).toBe(false);
    journal.refuseAll = null;
    await vi.waitFor(() => expect(broker.kernel.folds.complete).toBe(true), 5000);
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publisher.publishAcknowledged({ topic: 'a/1', payload: 'meanwhile' });
    const { client: back, connack } = await broker.connectWith(5, kept);
    expect(connack.sessionPresent).toBe(true);
    expect(await back.receiveTexts(1)).toEqual(['meanwhile']);
    // Those of its shard were closed, so that none goes on with state that the log does not have.
    await vi.waitFor(() => expect(quiet.some(({ closed }) => closed)).toBe(true), 5000);
    expect(quiet.every(({ closed }) => closed)).toBe(false);
    for (const input of others)
      expect((await broker.connectWith(5, input)).connack.sessionPresent).toBe(true);
  });

  it('takes the commits of its groups again', async () => {
    const storage = await createMemoryStorage();
    const kernel = await startKernel(storage);
    const kafka = createKafkaAdapter(
      { hosts: ['127.0.0.1'], port: 0, nodeId: 1 },
      { kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
    );
    await createShard(kernel, 't');
    await kafka.start();
    const client = await KafkaClient.connect(kafka.address());
    const commit = async (committedOffset: number) => {
      const partitions = [{ partitionIndex: 0, committedOffset, committedMetadata: '' }];
      const topics = [{ name: 't', partitions }];
      const answer = await client.send(offsetCommit, 8, { groupId: 'g', topics });
      return answer.topics[0]?.partitions[0]?.errorCode;
    };
    expect(await commit(1)).toBe(0);
    storage.journal.refuseAll = 'JOURNAL_DIVERGED';
    expect(await commit(2)).not.toBe(0);
    storage.journal.refuseAll = null;
    await vi.waitFor(async () => expect(await commit(3)).toBe(0), 5000);
    client.close();
    await kafka.stop();
    await kernel.stop();
  });
});

describe('storage 4.3: the marker of retained copies', () => {
  it('lets a start read no more of the data than 16 MiB and what follows the last snapshot', async () => {
    const storage = await createMemoryStorage();
    const small = { defaultTopicConfig: new Map([['segment.bytes', String(4 * 1024 * 1024)]]) };
    const first = await startKernel(storage, small);
    const value = Buffer.alloc(250_000, 'v');
    expect(await publishThrough(first, 'r/a', 'state', { retain: true })).toBe(0);
    const count = 160;
    for (let at = 1; at <= count; at++) expect(await publishThrough(first, 'r/a', value)).toBe(at);
    const { shard } = first.subjects.forPublish('r/a');
    storage.journal.crash();
    const read = vi.spyOn(storage.journal, 'readCached');
    const kernel = await startKernel(storage, small);
    const opened = await kernel.openShard(shard);
    const segments = new Set(recordOf(storage, shard).segments.map(({ id }) => id));
    const data = read.mock.calls.map(([request]) => request).filter(({ segment }) => segments.has(segment));
    const lowest = Math.min(...data.map(({ offset }) => offset));
    // 40 MB in all; 16 MiB are 67 of these records.
    expect(data.length).toBeGreaterThan(0);
    expect(count - lowest).toBeLessThanOrEqual(68);
    expect(opened.retained!.records.get('r/a')!.value.toString()).toBe('state');
    await kernel.stop();
  });

  it.each(['DeleteRecords', 'retention'])('is waited for by trimming: %s', async (how) => {
    const storage = await createMemoryStorage();
    const options = { defaultTopicConfig: new Map([['retention.bytes', '0']]) };
    const first = await startKernel(storage, options);
    expect(await publishThrough(first, 'r/a', 'opens the shards', { retain: true })).toBe(0);
    const shard = await first.openShard(first.subjects.forPublish('r/a').shard);
    storage.journal.hold();
    const published = publishThrough(first, 'r/a', 'state', { retain: true });
    await new Promise((resolve) => setTimeout(resolve, 20));
    // The record commits; its copy is on its way and does not.
    storage.journal.release();
    storage.journal.hold();
    expect(await published).toBe(1);
    shard.log.rollIfOld(Date.now() + 1e9);
    await vi.waitFor(() => expect(lastSegment(storage, shard.id).baseOffset).toBe(2));
    let trimmed = false;
    const trimming = how === 'retention' ? first.enforceRetention() : first.trim(shard, 2);
    void trimming.then(() => (trimmed = true));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect([trimmed, recordOf(storage, shard.id).startOffset]).toEqual([false, 0]);
    storage.journal.release();
    await trimming;
    expect(recordOf(storage, shard.id).startOffset).toBe(2);
    // A crash now finds the state in the copy: the record is gone.
    storage.journal.crash();
    const kernel = await startKernel(storage, options);
    const opened = await kernel.openShard(shard.id);
    expect(opened.retained!.records.get('r/a')!.value.toString()).toBe('state');
    await kernel.stop();
  });

  it('is made before a shard is trimmed that nobody has opened since a crash', async () => {
    const storage = await createMemoryStorage();
    const options = { defaultTopicConfig: new Map([['retention.bytes', '0']]) };
    const first = await startKernel(storage, options);
    expect(await publishThrough(first, 'r/a', 'opens the shards', { retain: true })).toBe(0);
    const shard = await first.openShard(first.subjects.forPublish('r/a').shard);
    storage.journal.hold();
    const published = publishThrough(first, 'r/a', 'state', { retain: true });
    await new Promise((resolve) => setTimeout(resolve, 20));
    storage.journal.release();
    storage.journal.hold();
    expect(await published).toBe(1);
    shard.log.rollIfOld(Date.now() + 1e9);
    await vi.waitFor(() => expect(lastSegment(storage, shard.id).baseOffset).toBe(2));
    // The copy is lost with the process; the record is all there is of the state.
    storage.journal.crash();
    const { topicsByName } = storage.metadata.image;
    const beside = topicsByName.get(topicKey('system', `__retained/${shard.topic.id}`))!;
    const copies = lastSegment(storage, beside.shards[shard.index]!);
    storage.journal.loseTail(copies.id, 1);
    const second = await startKernel(storage, options);
    await second.enforceRetention();
    expect(recordOf(storage, shard.id).startOffset).toBe(2);
    storage.journal.crash();
    const kernel = await startKernel(storage, options);
    const opened = await kernel.openShard(shard.id);
    expect(opened.retained!.records.get('r/a')!.value.toString()).toBe('state');
    await kernel.stop();
  });
});

describe('storage 4.4: what is written of where sessions stand', () => {
  const kept = { clientId: 's', cleanStart: false, properties: { sessionExpiry: 600 } };

  /** Entries in all shards of `__sessions`. */
  function sessionEntries({ metadata, journal }: MemoryStorage): number {
    const topic = [...metadata.image.topics.values()].find(({ name }) => name === '__sessions')!;
    let entries = 0;
    for (const shard of topic.shards) {
      for (const { id } of metadata.image.shards.get(shard)!.segments)
        entries += journal.entriesOf(id).length;
    }
    return entries;
  }

  /** Publishes one message and has it received and acknowledged. */
  async function exchange(publisher: MqttClient, subscriber: MqttClient, payload: string): Promise<void> {
    expect(await publisher.publishAcknowledged({ topic: 'floor/a', payload })).toBe(0);
    expect(await subscriber.receiveTexts(1)).toEqual([payload]);
    await subscriber.settled();
  }

  it('of one that keeps up a floor each 10 s and nothing for a message; a crash repeats what is above it', async () => {
    const clock = new SimClock();
    await using broker = await MqttBroker.start({ clock });
    const subscriber = await broker.connect(5, kept);
    await subscriber.subscribe('floor/#', 1);
    const publisher = await broker.connect(5, { clientId: 'p' });
    await exchange(publisher, subscriber, 'first');
    const before = sessionEntries(broker.storage);
    for (let second = 1; second <= 35; second++) {
      for (let count = 0; count < 5; count++) await exchange(publisher, subscriber, `${second}/${count}`);
      await clock.advance(1000);
    }
    const written = sessionEntries(broker.storage) - before;
    expect(written).toBeGreaterThanOrEqual(3);
    expect(written).toBeLessThanOrEqual(4);
    await broker.crash();
    const back = await broker.connect(5, kept);
    const again: string[] = [];
    for (;;) {
      const packets = await back.settled();
      if (packets.length === 0) break;
      for (const packet of packets) {
        if (packet.type !== 'publish') continue;
        again.push(Buffer.from(packet.payload).toString());
        back.ack('puback', packet.packetId);
      }
    }
    // Acknowledged since the last floor, 5 s ago: at QoS 1 it may come again; nothing older does.
    expect(again.length).toBeLessThanOrEqual(50);
    for (const text of again) expect(Number(text.split('/')[0])).toBeGreaterThanOrEqual(29);
    expect(again.at(-1)).toBe('35/4');
  });

  it('of one with a backlog its own cursor at most every 250 ms, and one when it disconnects', async () => {
    const clock = new SimClock();
    await using broker = await MqttBroker.start({ clock });
    const window = { ...kept, properties: { sessionExpiry: 600, receiveMaximum: 2 } };
    const subscriber = await broker.connect(5, window);
    await subscriber.subscribe('floor/#', 1);
    const publisher = await broker.connect(5, { clientId: 'p' });
    for (let at = 0; at < 60; at++)
      await publisher.publishAcknowledged({ topic: 'floor/a', payload: `${at}` });
    await clock.advance(300);
    const before = sessionEntries(broker.storage);
    for (let at = 0; at < 30; at++) expect(await subscriber.receiveTexts(1)).toEqual([`${at}`]);
    await subscriber.settled();
    // The end of the two that were in flight and written then, and nothing of the 28 behind them.
    const acknowledged = sessionEntries(broker.storage) - before;
    expect(acknowledged).toBeLessThanOrEqual(2);
    await clock.advance(250);
    await subscriber.settled();
    expect(sessionEntries(broker.storage) - before).toBe(acknowledged + 1);
    await subscriber.disconnect();
    await broker.restart();
    const back = await broker.connect(5, window);
    const rest = await back.receiveTexts(30);
    expect(rest).toEqual(Array.from({ length: 30 }, (_, at) => `${30 + at}`));
  });
});

describe('storage 4.6: metadata that has no room', () => {
  /** Metadata that takes no command while it is `full`, as when its log finds no space. */
  function fillable(metadata: Metadata): { metadata: Metadata; full: boolean; refused: number } {
    const state = {
      full: false,
      refused: 0,
      metadata: {
        get image() {
          return metadata.image;
        },
        watch: (listener: Parameters<Metadata['watch']>[0]) => metadata.watch(listener),
        propose: (commands: Parameters<Metadata['propose']>[0]) => {
          if (!state.full) return metadata.propose(commands);
          state.refused++;
          const error = new RobustError<KernelErrorCode>('METADATA_UNAVAILABLE', 'full', { retriable: true });
          return Promise.reject(error);
        },
      },
    };
    return state;
  }

  it('regression: a roll that it could not take ended the shard; a state shard never came back', async () => {
    const gate = fillable((await createMemoryStorage()).metadata);
    await using broker = await MqttBroker.start({ modules: { metadata: gate.metadata } });
    const kept = { cleanStart: false, properties: { sessionExpiry: 60 } };
    await broker.connect(5, { clientId: 'has an id for its producer', ...kept });
    const shard = await createShard(broker.kernel, 'rolls');
    gate.full = true;
    // Both have to open their first segment: the data shard, and the one of the session.
    const outcome = append(shard, brokerBatch(['first']));
    const connecting = broker.connect(5, { clientId: 'another', ...kept });
    await vi.waitFor(() => expect(gate.refused).toBeGreaterThan(3), 5000);
    gate.full = false;
    expect(await outcome).toBe(0);
    const client = await connecting;
    expect(await client.subscribe('a/#', 1)).toEqual([1]);
  });

  it('a shard that is closed meanwhile stops asking', async () => {
    const storage = await createMemoryStorage();
    const gate = fillable(storage.metadata);
    const kernel = await startKernel(storage, { modules: { metadata: gate.metadata } });
    const shard = await createShard(kernel, 'closes');
    gate.full = true;
    const outcome = append(shard, brokerBatch(['never']));
    await vi.waitFor(() => expect(gate.refused).toBeGreaterThan(0), 5000);
    shard.close(new RobustError<KernelErrorCode>('KERNEL_STOPPING', 'stopping'));
    expect(await outcome).toBe('KERNEL_STOPPING');
    const { refused } = gate;
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(gate.refused).toBe(refused);
    gate.full = false;
    await kernel.stop();
  });
});

describe('storage 4.8: what a client may ask for', () => {
  it('records are deleted up to the high watermark and not beyond; the log start only rises', async () => {
    const storage = await createMemoryStorage();
    const kernel = await startKernel(storage);
    const shard = await createShard(kernel, 'trimmed', { 'segment.bytes': String(1024 * 1024) });
    const large = 'v'.repeat(400_000);
    for (let at = 0; at < 10; at++) expect(await append(shard, brokerBatch([large]))).toBe(at);
    const starts = recordOf(storage, shard.id).segments.map(({ baseOffset }) => baseOffset);
    expect(starts.length).toBeGreaterThan(2);
    const refused = { code: 'OFFSET_OUT_OF_RANGE' };
    await expect(kernel.trim(shard, 11)).rejects.toMatchObject(refused);
    await expect(kernel.trim(shard, -5)).rejects.toMatchObject(refused);
    // In the middle of a segment: the start moves, the segment stays.
    const inside = starts[1]! + 1;
    expect(await kernel.trim(shard, inside)).toBe(inside);
    expect(recordOf(storage, shard.id).segments[0]!.baseOffset).toBe(starts[1]);
    expect(await kernel.trim(shard, 0)).toBe(inside);
    expect((await valuesOf(shard)).length).toBe(10 - inside);
    expect(await kernel.trim(shard, 10)).toBe(10);
    expect(await valuesOf(shard)).toEqual([]);
    expect(await append(shard, brokerBatch(['after']))).toBe(10);
    expect(await valuesOf(shard)).toEqual(['10:after']);
    await kernel.stop();
  });

  it('any offset may be committed, and the broker goes on', async () => {
    const kernel = await startKernel(await createMemoryStorage());
    const shard = await createShard(kernel, 't');
    expect(await append(shard, brokerBatch(['a', 'b']))).toBe(0);
    const kafka = createKafkaAdapter(
      { hosts: ['127.0.0.1'], port: 0, nodeId: 1 },
      { kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
    );
    await kafka.start();
    const client = await KafkaClient.connect(kafka.address());
    for (const committedOffset of [0, 2, 99, Number.MAX_SAFE_INTEGER]) {
      const partitions = [{ partitionIndex: 0, committedOffset, committedMetadata: '' }];
      const topics = [{ name: 't', partitions }];
      const answer = await client.send(offsetCommit, 8, { groupId: 'g', topics });
      expect(answer.topics[0]?.partitions[0]?.errorCode).toBe(0);
      const asked = [{ groupId: 'g', topics: [{ name: 't', partitionIndexes: [0] }] }];
      const fetched = await client.send(offsetFetch, 8, { groups: asked });
      expect(fetched.groups[0]?.topics[0]?.partitions).toMatchObject([{ committedOffset }]);
    }
    const drop = async (offset: number) => {
      const topics = [{ name: 't', partitions: [{ partitionIndex: 0, offset }] }];
      const answer = await client.send(deleteRecords, 2, { topics, timeoutMs: 1000 });
      return answer.topics[0]!.partitions[0]!;
    };
    expect((await drop(3)).errorCode).toBe(errorCodes.OFFSET_OUT_OF_RANGE);
    expect(await drop(1)).toMatchObject({ errorCode: 0, lowWatermark: 1 });
    // -1 is everything.
    expect(await drop(-1)).toMatchObject({ errorCode: 0, lowWatermark: 2 });
    client.close();
    await kafka.stop();
    await kernel.stop();
  });
});
