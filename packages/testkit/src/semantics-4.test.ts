import { entryFlag } from '@robustmq/kernel';
import type { Shard } from '@robustmq/kernel';
import type { ProtocolVersion } from '@robustmq/mqtt-codec';
import { SimClock } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { MqttBroker } from './mqtt-broker.ts';

const kept = (clientId: string) => ({ clientId, cleanStart: false, properties: { sessionExpiry: 600 } });

function shardOf(broker: MqttBroker, name: string): Shard {
  return broker.kernel.readyShard(broker.kernel.subjects.forPublish(name).shard)!;
}

describe('semantics 4.1: outbound', () => {
  it('at QoS 2 PUBLISH waits for the commit of its entry, and PUBREL for that of PUBREC', async () => {
    await using broker = await MqttBroker.start();
    const { journal } = broker.storage;
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publisher.publishAcknowledged({ topic: 'out/a', payload: 'opens the shard' });
    const client = await broker.connect(5, kept('s'));
    await client.subscribe('out/#', 2);
    journal.hold();
    publisher.publish({ topic: 'out/a', qos: 2, packetId: 1, payload: 'exact' });
    expect(await publisher.settled()).toEqual([]);
    // The record commits; what the session writes about it does not yet.
    journal.release();
    journal.hold();
    expect((await publisher.next('pubrec')).reasonCode).toBe(0);
    expect(await client.settled()).toEqual([]);
    journal.release();
    const message = await client.next('publish');
    journal.hold();
    client.ack('pubrec', message.packetId);
    expect(await client.settled()).toEqual([]);
    journal.release();
    expect((await client.next('pubrel')).packetId).toBe(message.packetId);
  });

  it.each([1, 2] as const)('a refill of the window is one entry in the log, at QoS %i', async (qos) => {
    await using broker = await MqttBroker.start();
    const many = 30;
    const session = { ...kept('s'), properties: { sessionExpiry: 600, receiveMaximum: many } };
    const first = await broker.connect(5, session);
    await first.subscribe('out/a', qos);
    await first.disconnect();
    const publisher = await broker.connect(5, { clientId: 'p' });
    for (let at = 0; at < many; at++) {
      publisher.publish({ topic: 'out/a', qos: 2, packetId: 1, payload: String(at) });
      await publisher.next('pubrec');
      publisher.ack('pubrel', 1);
      await publisher.next('pubcomp');
    }
    const entries = (): number => {
      const { topics, shards } = broker.storage.metadata.image;
      const sessions = [...topics.values()].find(({ name }) => name === '__sessions')!;
      const segments = sessions.shards.flatMap((id) => shards.get(id)!.segments);
      return segments.reduce((sum, { id }) => sum + broker.storage.journal.entriesOf(id).length, 0);
    };
    const before = entries();
    const client = await broker.connect(5, session);
    for (let at = 0; at < many; at++) await client.next('publish');
    // One for the connection, and one for what is in flight where that has to be known first.
    expect(entries() - before).toBe(qos);
  });

  it('QoS 1 waits for the commit of the record alone', async () => {
    await using broker = await MqttBroker.start();
    const { journal } = broker.storage;
    const publisher = await broker.connect(5, { clientId: 'p' });
    await publisher.publishAcknowledged({ topic: 'out/a', payload: 'opens the shard' });
    const client = await broker.connect(5, kept('s'));
    await client.subscribe('out/#', 1);
    journal.hold();
    publisher.publish({ topic: 'out/a', qos: 1, packetId: 1, payload: 'at least once' });
    expect(await publisher.settled()).toEqual([]);
    journal.release();
    journal.hold();
    const message = await client.next('publish');
    client.ack('puback', message.packetId);
    expect(await client.settled()).toEqual([]);
    journal.release();
  });

  it('a crash before the commit of an entry repeats nothing that the client has seen', async () => {
    await using broker = await MqttBroker.start();
    const client = await broker.connect(5, kept('s'));
    await client.subscribe('out/a', 2);
    const publisher = await broker.connect(5, { clientId: 'p' });
    publisher.publish({ topic: 'out/a', qos: 2, packetId: 1, payload: 'exact' });
    const message = await client.next('publish');
    client.ack('pubrec', message.packetId);
    await client.next('pubrel');
    await broker.crash();
    const back = await broker.connect(5, kept('s'));
    expect((await back.next('pubrel')).packetId).toBe(message.packetId);
    back.ack('pubcomp', message.packetId);
    expect(await back.settled()).toEqual([]);
  });
});

describe('semantics 4.2: inbound QoS 2', () => {
  it('the shard holds the token from the record to its release, which takes no offset and is never read', async () => {
    await using broker = await MqttBroker.start();
    const client = await broker.connect(5, kept('device'));
    client.publish({ topic: 'in/a', qos: 2, packetId: 7, payload: 'once' });
    await client.next('pubrec');
    const shard = shardOf(broker, 'in/a');
    expect([shard.tokens.size, shard.highWatermark]).toEqual([1, 1]);
    client.ack('pubrel', 7);
    await client.next('pubcomp');
    expect([shard.tokens.size, shard.highWatermark, shard.log.nextOffset]).toEqual([0, 1, 1]);
    const segment = broker.storage.metadata.image.shards.get(shard.id)!.segments.at(-1)!;
    const stored = broker.storage.journal.entriesOf(segment.id);
    const release = stored.find(({ flags }) => (flags & entryFlag.dedupRelease) !== 0)!;
    expect([release.count, release.baseOffset, release.payload.length]).toEqual([0, 1, 12]);
    expect((release.flags & entryFlag.control) !== 0).toBe(true);
    const subscriber = await broker.connect(5, { clientId: 's' });
    await subscriber.subscribe('in/#', 2);
    expect(await subscriber.settled()).toEqual([]);
  });

  it('tokens and releases are folded again from the log', async () => {
    await using broker = await MqttBroker.start();
    const client = await broker.connect(5, kept('device'));
    for (const packetId of [1, 2]) {
      client.publish({ topic: 'in/a', qos: 2, packetId, payload: String(packetId) });
      await client.next('pubrec');
    }
    client.ack('pubrel', 1);
    await client.next('pubcomp');
    await broker.crash();
    const shard = await broker.kernel.openShard(broker.kernel.subjects.forPublish('in/a').shard);
    expect(shard.tokens.size).toBe(1);
  });

  it('tokens are of a session: a clean start begins with another producer id, and an old packet id is no repetition', async () => {
    await using broker = await MqttBroker.start();
    const first = await broker.connect(5, kept('device'));
    first.publish({ topic: 'in/a', qos: 2, packetId: 7, payload: 'old' });
    await first.next('pubrec');
    const shard = shardOf(broker, 'in/a');
    const resumed = await broker.connect(5, kept('device'));
    resumed.publish({ topic: 'in/a', qos: 2, packetId: 7, dup: true, payload: 'old' });
    await resumed.next('pubrec');
    expect(shard.highWatermark).toBe(1);
    const anew = await broker.connect(5, { ...kept('device'), cleanStart: true });
    anew.publish({ topic: 'in/a', qos: 2, packetId: 7, payload: 'new' });
    await anew.next('pubrec');
    expect(shard.highWatermark).toBe(2);
  });

  it('the session names a shard in its own state before its first publish to it', async () => {
    await using broker = await MqttBroker.start();
    const client = await broker.connect(5, kept('device'));
    // Opens the shard.
    await client.publishAcknowledged({ topic: 'in/a' });
    const shard = shardOf(broker, 'in/a');
    broker.storage.journal.hold();
    client.publish({ topic: 'in/a', qos: 2, packetId: 7 });
    expect(await client.nothingWithin(50)).toBeNull();
    expect(shard.log.nextOffset).toBe(1);
    broker.storage.journal.release();
    await client.next('pubrec');
    expect(shard.log.nextOffset).toBe(2);
    // Once is enough.
    broker.storage.journal.hold();
    client.publish({ topic: 'in/a', qos: 2, packetId: 8 });
    await client.settled();
    expect(shard.log.nextOffset).toBe(3);
    broker.storage.journal.release();
    await client.next('pubrec');
  });

  it('a session that ends with its connection has no tokens', async () => {
    await using broker = await MqttBroker.start();
    const client = await broker.connect(5, { clientId: 'passing' });
    client.publish({ topic: 'in/a', qos: 2, packetId: 7 });
    await client.next('pubrec');
    expect(shardOf(broker, 'in/a').tokens.size).toBe(0);
  });

  it('batches that mix publishers carry no producer id', async () => {
    await using broker = await MqttBroker.start();
    const clients = [await broker.connect(5, kept('one')), await broker.connect(5, kept('two'))];
    for (const client of clients) client.publish({ topic: 'in/a', qos: 2, packetId: 1 });
    for (const client of clients) await client.next('pubrec');
    const shard = shardOf(broker, 'in/a');
    const { entries } = await shard.read(0, { maxBytes: 1 << 20, limit: shard.highWatermark });
    const data = entries.filter(({ count }) => count > 0);
    expect(data.length).toBeGreaterThan(0);
    // The producer id of a batch stands at byte 43.
    for (const { payload } of data) expect(payload.readBigInt64BE(43)).toBe(-1n);
    expect(shard.producers.size).toBe(0);
  });
});

describe('semantics 4.3: refusals', () => {
  it.each([
    ['a name that nobody may publish to', { topic: '$SYS/a' }, 0x90],
    [
      'text that is none',
      { topic: 'a', payload: Buffer.from([0xff]), properties: { payloadFormat: 1 } },
      0x99,
    ],
  ] as const)(
    '%s is told in MQTT 5, at QoS 1 and 2, and the connection goes on',
    async (_what, input, code) => {
      await using broker = await MqttBroker.start();
      const client = await broker.connect(5, { clientId: 'c' });
      client.publish({ ...input, qos: 1, packetId: 1 });
      client.publish({ ...input, qos: 2, packetId: 2 });
      expect(await client.next('puback')).toMatchObject({ packetId: 1, reasonCode: code });
      expect(await client.next('pubrec')).toMatchObject({ packetId: 2, reasonCode: code });
      // The exchange is over: the id is free.
      client.publish({ topic: 'a', qos: 2, packetId: 2 });
      expect(await client.next('pubrec')).toMatchObject({ packetId: 2, reasonCode: 0 });
    },
  );

  it('a message larger than its bound topic takes gets 0x97', async () => {
    await using broker = await MqttBroker.start();
    const config = new Map([
      ['max.message.bytes', '2048'],
      ['subject.bind', 'true'],
    ]);
    const tooLarge = Buffer.alloc(5000);
    await broker.kernel.topics.create('small', 1, config);
    const client = await broker.connect(5, { clientId: 'c' });
    expect(await client.publishAcknowledged({ topic: 'small/a', payload: tooLarge })).toBe(0x97);
    const old = await broker.connect(4, { clientId: 'old' });
    old.publish({ topic: 'small/a', qos: 1, packetId: 1, payload: tooLarge });
    await old.whenClosed();
    expect(old.pending).toEqual([]);
  });

  it.each([3, 4] as const)(
    'before MQTT 5 a refused name is acknowledged and dropped, version %i',
    async (version) => {
      await using broker = await MqttBroker.start();
      const client = await broker.connect(version, { clientId: 'c' });
      client.publish({ topic: '$SYS/a', qos: 1, packetId: 1 });
      expect((await client.next('puback')).packetId).toBe(1);
      client.publish({ topic: '$SYS/a', qos: 2, packetId: 2 });
      expect((await client.next('pubrec')).packetId).toBe(2);
      client.ack('pubrel', 2);
      expect((await client.next('pubcomp')).packetId).toBe(2);
      client.publish({ topic: '$SYS/a' });
      expect(await client.settled()).toEqual([]);
    },
  );

  /** Publishes what gets no outcome, and lets the time pass after which that is said. */
  async function undecided(version: ProtocolVersion, how: 'full' | 'silent'): Promise<number | null> {
    const clock = new SimClock();
    await using broker = await MqttBroker.start({ clock });
    const client = await broker.connect(version, { clientId: 'c' });
    expect(await client.publishAcknowledged({ topic: 'a' })).toBe(0);
    const { journal } = broker.storage;
    if (how === 'full') journal.admit(false);
    else journal.hold();
    client.publish({ topic: 'a', qos: 1, packetId: 2 });
    client.publish({ topic: 'a', qos: 2, packetId: 3 });
    expect(await client.settled()).toEqual([]);
    for (let second = 0; second < 19; second++) await clock.advance(1000);
    expect(await client.settled()).toEqual([]);
    for (let second = 0; second < 25; second++) await clock.advance(1000);
    await client.whenClosed();
    journal.release();
    const [last] = client.pending;
    if (last === undefined) return null;
    expect(last.type).toBe('disconnect');
    return last.type === 'disconnect' ? last.reasonCode : null;
  }

  it.each([
    ['full', 5, 0x97],
    ['silent', 5, 0x83],
    ['full', 4, null],
    ['silent', 4, null],
  ] as const)(
    'what is not known is not acknowledged, and after 20 s the connection ends: journal %s, version %i',
    async (how, version, code) => {
      expect(await undecided(version, how)).toBe(code);
    },
  );
});
