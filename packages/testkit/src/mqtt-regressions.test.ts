import { encodePacket } from '@robustmq/mqtt-codec';
import type { Packet, PublishPacket } from '@robustmq/mqtt-codec';
import { SimClock } from '@robustmq/sim';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { MqttBroker } from './mqtt-broker.ts';
import { waitUntil } from './wait-until.ts';

const text = (message: PublishPacket): string => Buffer.from(message.payload).toString();

interface Work {
  readonly timers: number;
  readonly writes: number;
  /** Entries of maps and sets that were visited, whoever did. */
  readonly looks: number;
}

/** What a broker has done since; until the test ends. */
function watchWork(broker: MqttBroker, clock: SimClock): () => Work {
  const timers = vi.spyOn(clock, 'after').mock.calls;
  const { fuse } = broker.storage.journal;
  let looks = 0;
  for (const each of [new Map<unknown, unknown>(), new Set<unknown>()]) {
    const visits = Object.getPrototypeOf(each.values()) as Iterator<unknown>;
    const { next } = visits;
    visits.next = function (this: Iterator<unknown>) {
      looks++;
      return next.call(this);
    };
    onTestFinished(() => void (visits.next = next));
  }
  return () => ({ timers: timers.length, writes: fuse.taken, looks });
}

describe('what other brokers do wrong', () => {
  it('mqtt defect 4: a wildcard filter granted QoS 1 gets a QoS 2 message at QoS 1', async () => {
    await using broker = await MqttBroker.start();
    const client = await broker.connect(4, { clientId: 'c' });
    await client.subscribe('a/+', 1);
    const publisher = await broker.connect(4, { clientId: 'p' });
    publisher.publish({ topic: 'a/b', qos: 2, packetId: 1 });
    await publisher.next('pubrec');
    expect((await client.receive(1))[0]!.qos).toBe(1);
  });

  it('mqtt defect 6: a crash before the record is durable has acknowledged nothing, and what comes again is stored', async () => {
    await using broker = await MqttBroker.start();
    const session = { clientId: 'c', cleanStart: false, properties: { sessionExpiry: 60 } };
    const first = await broker.connect(5, session);
    // The journal takes no more writes; the client knows nothing of that.
    broker.storage.journal.fuse.blowAfter(0);
    first.publish({ topic: 't', qos: 1, packetId: 1, payload: 'x' });
    first.publish({ topic: 't', qos: 2, packetId: 2, payload: 'y' });
    expect(await first.nothingWithin(100)).toBeNull();
    await broker.crash();
    expect(first.pending).toEqual([]);
    const reader = await broker.connect(5, { clientId: 'r' });
    await reader.subscribe('t', 2);
    const again = await broker.connect(5, session);
    again.publish({ topic: 't', qos: 1, packetId: 1, dup: true, payload: 'x' });
    again.publish({ topic: 't', qos: 2, packetId: 2, dup: true, payload: 'y' });
    await again.next('puback');
    await again.next('pubrec');
    expect(await reader.receiveTexts(2)).toEqual(['x', 'y']);
  });

  it('mqtt defect 46, 61: delivery and acknowledgement wait for no timer, and keep up with one another', async () => {
    const clock = new SimClock();
    await using broker = await MqttBroker.start({ clock });
    const reader = await broker.connect(5, { clientId: 'r' });
    await reader.subscribe(['zero', 'one'], 1);
    const publisher = await broker.connect(5, { clientId: 'p' });
    let received = 0;
    let acknowledged = 0;
    let apart = 0;
    reader.listen(
      (packet) => {
        if (packet.type !== 'publish') return;
        received++;
        if (packet.qos === 1) reader.ack('puback', packet.packetId);
      },
      () => undefined,
    );
    const count = 500;
    const send = (): void => {
      const packetId = (acknowledged % 1000) + 1;
      publisher.publish({ topic: 'zero', payload: 'x' });
      publisher.publish({ topic: 'one', qos: 1, packetId, payload: 'x' });
    };
    publisher.listen(
      () => {
        acknowledged++;
        apart = Math.max(apart, acknowledged * 2 - received);
        if (acknowledged < count) send();
      },
      () => undefined,
    );
    // One message at a time, while the clock of the broker stands still.
    send();
    await waitUntil(() => received === count * 2);
    expect(acknowledged).toBe(count);
    expect(clock.now()).toBe(new SimClock().now());
    expect(apart).toBeLessThan(50);
  });

  it('mqtt defect 9: QoS 1 messages to a clean session are tracked until PUBACK, and not sent again without a new connection', async () => {
    await using broker = await MqttBroker.start();
    const client = await broker.connect(5, { clientId: 'c', properties: { receiveMaximum: 2 } });
    await client.subscribe('t', 1);
    const publisher = await broker.connect(5, { clientId: 'p' });
    for (const payload of ['1', '2', '3']) await publisher.publishAcknowledged({ topic: 't', payload });
    const sent = (await client.settled()) as PublishPacket[];
    expect(sent.map(text)).toEqual(['1', '2']);
    // An answer to something else frees no place.
    client.ack('puback', 40_000);
    expect(await client.settled()).toEqual([]);
    client.ack('puback', sent[1]!.packetId);
    expect((await client.receiveTexts(1))[0]).toBe('3');
  });

  it('mqtt defect 49: CONNECT, SUBSCRIBE and DISCONNECT of a clean session write nothing', async () => {
    await using broker = await MqttBroker.start();
    // The shards that `#` can match are opened at their first use.
    const first = await broker.connect(5, { clientId: 'first' });
    await first.subscribe('#', 1);
    await first.settled();
    const { revision } = broker.storage.metadata.image;
    const { taken } = broker.storage.journal.fuse;
    for (const version of [3, 4, 5] as const) {
      const client = await broker.connect(version, { clientId: 'clean', cleanStart: true });
      await client.subscribe(['a/#', 'b'], 2);
      client.send({ type: 'unsubscribe', packetId: 2, filters: ['b'], properties: {} });
      await client.next('unsuback');
      await client.disconnect();
    }
    await broker.adapter.stop();
    expect(broker.storage.metadata.image.revision).toBe(revision);
    // Neither an entry of the journal nor a command of metadata, which would count here.
    expect(broker.storage.journal.fuse.taken).toBe(taken);
  });

  it('mqtt defect 47: no message is skipped after attempts that failed: the client comes back a hundred times', async () => {
    await using broker = await MqttBroker.start();
    const session = { clientId: 'c', cleanStart: false, properties: { sessionExpiry: 60 } };
    let client = await broker.connect(5, session);
    await client.subscribe('t', 1);
    const publisher = await broker.connect(5, { clientId: 'p' });
    for (const payload of ['1', '2', '3']) await publisher.publishAcknowledged({ topic: 't', payload });
    for (let round = 0; round < 100; round++) {
      const first = await client.next('publish');
      expect([text(first), first.dup]).toEqual(['1', round > 0]);
      client.drop();
      client = await broker.connect(5, session);
    }
    expect(await client.receiveTexts(3)).toEqual(['1', '2', '3']);
  });

  it('mqtt defect 62: 50 shards written from 50 connections at once make progress', async () => {
    await using broker = await MqttBroker.start();
    const { topics, subjects } = broker.kernel;
    const { shards } = await topics.create('wide', 50, new Map([['subject.bind', 'true']]));
    const free = Array.from({ length: 1000 }, (_, at) => `wide/${at}`);
    /** One for each shard. */
    const names = shards.map((shard) => free.find((name) => subjects.forPublish(name).shard === shard)!);
    const reader = await broker.connect(5, { clientId: 'reader' });
    await reader.subscribe('wide/#', 1);
    const clients = await Promise.all(
      Array.from({ length: 50 }, (_, at) => broker.connect(5, { clientId: `w${at}` })),
    );
    for (let round = 0; round < 20; round++) {
      for (const [at, client] of clients.entries()) {
        client.publish({ topic: names[at]!, qos: 1, packetId: round + 1, payload: String(round) });
      }
    }
    const messages = await reader.receive(1000);
    for (const [at, client] of clients.entries()) {
      for (let round = 0; round < 20; round++) await client.next('puback');
      const mine = messages.filter(({ topic }) => topic === names[at]);
      expect(mine.map(text)).toEqual(Array.from({ length: 20 }, (_, round) => String(round)));
    }
    for (const shard of shards) expect(broker.kernel.readyShard(shard)!.highWatermark).toBe(20);
  });

  it.each([
    ['that never expire', 0xffff_ffff, 0],
    // A deadline is looked at when the wheel of the timers has come round, after 128 s.
    ['that expire', 7200, Math.ceil(600 / 128)],
  ])(
    'mqtt defect 31: idle kept sessions %s cost no timer each, and no work as time passes',
    async (_name, sessionExpiry, looksEach) => {
      const clock = new SimClock();
      await using broker = await MqttBroker.start({ clock });
      // The shards that `#` can match are opened at their first use.
      const first = await broker.connect(5, { clientId: 'first' });
      await first.subscribe('#', 1);
      await first.disconnect();
      const work = watchWork(broker, clock);
      /** What is done in ten minutes in which nobody says anything. */
      const tenMinutes = async (): Promise<Work> => {
        const before = work();
        await clock.advance(600_000);
        const after = work();
        return {
          timers: after.timers - before.timers,
          writes: after.writes - before.writes,
          looks: after.looks - before.looks,
        };
      };
      let idle = 0;
      const leaveUntil = async (count: number): Promise<void> => {
        for (; idle < count; idle++) {
          const session = { clientId: `idle${idle}`, cleanStart: false, properties: { sessionExpiry } };
          const client = await broker.connect(5, session);
          await client.subscribe(`idle/${idle}`, 1);
          client.drop();
        }
        await waitUntil(() => broker.adapter.sessions.offline === count);
        // What was begun for them is over after that.
        await clock.advance(600_000);
      };
      await leaveUntil(3);
      const pending = clock.pending;
      const few = await tenMinutes();
      await leaveUntil(300);
      expect(clock.pending).toBeLessThan(pending + 20);
      const many = await tenMinutes();
      expect(many).toMatchObject({ timers: few.timers, writes: few.writes });
      expect(few.looks).toBeGreaterThan(0);
      expect(many.looks - few.looks).toBeLessThanOrEqual((300 - 3) * looksEach);
      expect(broker.adapter.sessions.offline).toBe(300);
    },
    20_000,
  );
});

describe('back-pressure', () => {
  const pad = Buffer.alloc(2000);

  for (const version of [4, 5] as const) {
    it(`a client of version ${version} that is held by the log and by its own publishes goes on in the end`, async () => {
      await using broker = await MqttBroker.start({
        limits: { receiveMaximum: version === 4 ? 10 : 1000 },
        options: { inflightBytesMax: 10_000 },
      });
      const client = await broker.connect(version, { clientId: 'c' });
      for (let round = 0; round < 5; round++) {
        broker.storage.journal.hold();
        for (let at = 1; at <= 200; at++) client.publish({ topic: 't', qos: 1, packetId: at, payload: pad });
        expect(await client.nothingWithin(30)).toBeNull();
        broker.storage.journal.release();
        for (let at = 1; at <= 200; at++) expect((await client.next('puback')).packetId).toBe(at);
      }
      expect(broker.kernel.appender.inflightBytes).toBe(0);
    });
  }

  it('a held SUBSCRIBE is not read past when the log is relieved', async () => {
    await using broker = await MqttBroker.start({ options: { inflightBytesMax: 10_000 } });
    const client = await broker.connect(5, { clientId: 'c', properties: { sessionExpiry: 60 } });
    const other = await broker.connect(5, { clientId: 'o' });
    for (let round = 1; round <= 20; round++) {
      broker.storage.journal.hold();
      for (let at = 1; at <= 20; at++) other.publish({ topic: 't', qos: 1, packetId: at, payload: pad });
      const packets: Packet[] = [
        {
          type: 'subscribe',
          packetId: round,
          subscriptions: [
            { filter: `f/${round}`, qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 },
          ],
          properties: {},
        },
        { type: 'unsubscribe', packetId: 1000 + round, filters: [`f/${round}`], properties: {} },
        { type: 'pingreq' },
      ];
      // What is behind them comes in a chunk of its own.
      for (const packet of packets) {
        client.send(packet);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      expect(await client.nothingWithin(5)).toBeNull();
      broker.storage.journal.release();
      expect((await client.next('suback')).packetId).toBe(round);
      expect((await client.next('unsuback')).packetId).toBe(1000 + round);
      await client.next('pingresp');
      for (let at = 1; at <= 20; at++) await other.next('puback');
    }
  });

  it('packets sent at once are answered in their order', async () => {
    await using broker = await MqttBroker.start();
    const client = await broker.open(5);
    const bytes: Buffer[] = [];
    const push = (packet: Packet): void => void bytes.push(encodePacket(5, packet));
    push({
      type: 'connect',
      version: 5,
      cleanStart: false,
      keepAlive: 0,
      clientId: 'all-at-once',
      username: null,
      password: null,
      will: null,
      properties: { sessionExpiry: 60 },
    });
    const rounds = 150;
    for (let id = 1; id <= rounds; id++) {
      push({
        type: 'subscribe',
        packetId: id,
        subscriptions: [
          { filter: `f/${id}`, qos: 0, noLocal: true, retainAsPublished: false, retainHandling: 0 },
        ],
        properties: {},
      });
      push({
        type: 'publish',
        topic: `f/${id}`,
        qos: id % 2 === 0 ? 1 : 2,
        packetId: id,
        retain: false,
        dup: false,
        payload: Buffer.alloc(id * 10),
        properties: {},
      });
      push({ type: 'pingreq' });
      push({ type: 'unsubscribe', packetId: id, filters: [`f/${id - 1}`], properties: {} });
    }
    client.sendBytes(Buffer.concat(bytes));
    const answers = new Map<string, number[]>();
    await waitUntil(() => client.pending.length === 1 + rounds * 4);
    for (const packet of client.pending) {
      const id = 'packetId' in packet ? packet.packetId : 0;
      answers.set(packet.type, [...(answers.get(packet.type) ?? []), id]);
    }
    const all = Array.from({ length: rounds }, (_, at) => at + 1);
    expect(answers.get('suback')).toEqual(all);
    expect(answers.get('unsuback')).toEqual(all);
    expect(answers.get('puback')).toEqual(all.filter((id) => id % 2 === 0));
    expect(answers.get('pubrec')).toEqual(all.filter((id) => id % 2 === 1));
    expect(answers.get('pingresp')).toHaveLength(rounds);
  });
});

describe('a will for the name of a bound topic, which has no shard of its own', () => {
  it('is sent once, also when a crash hides that it was', async () => {
    const clock = new SimClock();
    await using broker = await MqttBroker.start({ clock });
    const topic = await broker.kernel.topics.create('alarm', 3, new Map([['subject.bind', 'true']]));
    const will = {
      topic: 'alarm',
      payload: Buffer.from('x'),
      qos: 1 as const,
      retain: false,
      properties: {},
    };
    const client = await broker.connect(5, { clientId: 'c', will, properties: { sessionExpiry: 100 } });
    const watcher = await broker.connect(5, { clientId: 'w' });
    await watcher.subscribe('alarm', 1);
    broker.storage.journal.hold();
    client.drop();
    await waitUntil(() => broker.adapter.counters.connections === 1);
    await clock.advance(300);
    await watcher.settled();
    await broker.crash();
    for (let at = 0; at < 60; at++) await clock.advance(500);
    await new Promise((resolve) => setTimeout(resolve, 20));
    let records = 0;
    for (const id of topic.shards) records += (await broker.kernel.openShard(id)).highWatermark;
    expect(records).toBe(1);
  });
});
