import { InvariantError, RobustError } from '@robustmq/core';
import { describe, expect, it } from 'vitest';
import type { ConnectPacket, Packet, PublishPacket } from './packet.ts';
import { PacketCollector } from './packet-collector.ts';
import { encodePacket } from './packet-encoder.ts';
import { PacketReader, type PacketSink } from './packet-reader.ts';
import type { PublishView } from './publish-view.ts';

const connect: ConnectPacket = {
  type: 'connect',
  version: 5,
  cleanStart: true,
  keepAlive: 0,
  clientId: 'c',
  username: null,
  password: null,
  will: null,
  properties: {},
};

function message(payload: string | Buffer, rest: Partial<PublishPacket> = {}): PublishPacket {
  return {
    type: 'publish',
    qos: 0,
    retain: false,
    dup: false,
    packetId: 0,
    topic: 'a/b',
    payload: Buffer.from(payload),
    properties: {},
    ...rest,
  };
}

function serverReader(maxPacketBytes = 1 << 20): PacketReader {
  const reader = new PacketReader({ role: 'server', maxPacketBytes });
  reader.version = 4;
  return reader;
}

const wire = (packets: readonly Packet[], version: 4 | 5 = 4) =>
  Buffer.concat(packets.map((packet) => encodePacket(version, packet)));

/** Collects, and stops its reader after each packet. */
class StoppingCollector extends PacketCollector {
  readonly #reader: PacketReader;

  constructor(reader: PacketReader) {
    super();
    this.#reader = reader;
  }

  override publish(view: PublishView): void {
    super.publish(view);
    this.#reader.stop();
  }
}

describe('version', () => {
  it('is taken from CONNECT for the packets behind it in the same chunk', () => {
    const reader = new PacketReader({ role: 'server', maxPacketBytes: 1000 });
    const collector = new PacketCollector();
    const behind = message('x', { properties: { contentType: 't' } });
    reader.push(wire([connect, behind, { type: 'pingreq' }], 5), collector);
    expect(collector.packets).toEqual([connect, behind, { type: 'pingreq' }]);
    expect(reader.version).toBe(5);
  });

  it('must be set by a client before it reads', () => {
    const reader = new PacketReader({ role: 'client', maxPacketBytes: 1000 });
    expect(() => reader.push(Buffer.from([0x20, 2, 0, 0]), new PacketCollector())).toThrow();
  });
});

describe('stop and resume', () => {
  const packets = Array.from({ length: 20 }, (_, index) => message(`payload ${index}`));

  it('delivers one packet at a time and keeps the rest', () => {
    const reader = serverReader();
    const collector = new StoppingCollector(reader);
    const bytes = wire(packets);
    expect(reader.push(bytes, collector)).toBe(false);
    bytes.fill(0xff); // what is kept must not lie in the caller's chunk
    for (let count = 1; count <= packets.length; count++) {
      expect(collector.packets).toEqual(packets.slice(0, count));
      expect(reader.resume(collector)).toBe(count === packets.length);
    }
    expect(reader.heldBytes).toBe(0);
  });

  it('takes further chunks while it is stopped, and goes on in order', () => {
    const bytes = wire(packets);
    for (let cut = 0; cut <= bytes.length; cut += 7) {
      const reader = serverReader();
      const collector = new StoppingCollector(reader);
      reader.push(bytes.subarray(0, cut), collector);
      for (let at = cut; at < bytes.length; at += 3) reader.push(bytes.subarray(at, at + 3), collector);
      while (!reader.resume(collector));
      expect(collector.packets).toEqual(packets);
    }
  });

  it('works from outside, with half a packet held', () => {
    const reader = serverReader();
    const collector = new PacketCollector();
    const bytes = wire(packets.slice(0, 3));
    reader.push(bytes.subarray(0, 25), collector);
    reader.stop();
    expect(collector.packets).toEqual(packets.slice(0, 1));
    for (const byte of bytes.subarray(25)) expect(reader.push(Buffer.from([byte]), collector)).toBe(false);
    expect(collector.packets).toEqual(packets.slice(0, 1));
    expect(reader.resume(collector)).toBe(true);
    expect(collector.packets).toEqual(packets.slice(0, 3));
  });

  it('lets a server stop at CONNECT and raise the limit before what follows', () => {
    const reader = new PacketReader({ role: 'server', maxPacketBytes: 64 });
    const collector = new PacketCollector();
    const sink: PacketSink = {
      publish: (view) => collector.publish(view),
      ack: () => undefined,
      packet: (packet) => {
        collector.packet(packet);
        reader.stop();
      },
    };
    const large = message(Buffer.alloc(1000, 1));
    expect(reader.push(wire([connect, large], 5), sink)).toBe(false);
    reader.maxPacketBytes = 2000;
    reader.resume(sink);
    expect(collector.packets).toEqual([connect, large]);
  });
});

describe('limits', () => {
  it('take a packet of exactly the maximum and refuse one byte more', () => {
    const exact = wire([message(Buffer.alloc(95 - 5))]); // 2 header, 5 topic
    expect(exact).toHaveLength(97);
    const collector = new PacketCollector();
    serverReader(97).push(exact, collector);
    expect(collector.packets).toHaveLength(1);
    expect(() => serverReader(96).push(exact, new PacketCollector())).toThrow(
      expect.objectContaining({ code: 'MQTT_TOO_LARGE', detail: { reasonCode: 0x95, bytes: 97, max: 96 } }),
    );
  });

  it('refuse a declared length before its body has come', () => {
    const reader = serverReader(1000);
    expect(() => reader.push(Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]), new PacketCollector())).toThrow(
      RobustError,
    );
    expect(reader.heldBytes).toBe(0);
  });

  it('refuse a bad first byte before the length has come', () => {
    expect(() => serverReader().push(Buffer.from([0x36]), new PacketCollector())).toThrow(RobustError);
  });

  it('hold at most twice what was received of a large packet', () => {
    const declared = 64 << 20;
    const reader = serverReader(declared + 100);
    const collector = new PacketCollector();
    const before = process.memoryUsage().arrayBuffers;
    reader.push(Buffer.from([0x30, 0x80, 0x80, 0x80, 0x20]), collector);
    reader.push(Buffer.alloc(100_000, 1), collector);
    reader.push(Buffer.alloc(100_000, 1), collector);
    expect(reader.heldBytes).toBe(200_005);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 << 20);
  });

  it('copy a packet that comes in small pieces a bounded number of times', () => {
    const payload = Buffer.alloc(1 << 20, 7);
    const bytes = wire([message(payload)]);
    const reader = serverReader(2 << 20);
    const collector = new PacketCollector();
    const started = process.cpuUsage();
    for (let at = 0; at < bytes.length; at += 16) reader.push(bytes.subarray(at, at + 16), collector);
    // 65,000 pieces of 16 B: quadratic copying would move 32 GiB.
    expect(process.cpuUsage(started).user).toBeLessThan(2_000_000);
    expect(Buffer.compare((collector.packets[0] as PublishPacket).payload, payload)).toBe(0);
  });

  it('bound topic aliases by the announced maximum (MQTT-3.3.2-9)', () => {
    const reader = serverReader();
    reader.version = 5;
    reader.topicAliasMaximum = 10;
    const collector = new PacketCollector();
    reader.push(wire([message('', { properties: { topicAlias: 10 } })], 5), collector);
    expect(collector.packets).toHaveLength(1);
    expect(() => reader.push(wire([message('', { properties: { topicAlias: 11 } })], 5), collector)).toThrow(
      expect.objectContaining({
        code: 'MQTT_TOPIC_ALIAS_INVALID',
        detail: expect.objectContaining({ reasonCode: 0x94 }),
      }),
    );
  });
});

describe('failure', () => {
  it('comes after the good packets before it, and ends all reading', () => {
    const reader = serverReader();
    const collector = new PacketCollector();
    const good = message('good');
    expect(() =>
      reader.push(Buffer.concat([wire([good, good]), Buffer.from([0xf1, 0]), wire([good])]), collector),
    ).toThrow(RobustError);
    expect(reader.push(wire([good]), collector)).toBe(true);
    expect(reader.resume(collector)).toBe(true);
    expect(collector.packets).toEqual([good, good]);
    expect(reader.heldBytes).toBe(0);
  });

  it('of a sink that pushes into its reader is our own', () => {
    const reader = serverReader();
    const sink: PacketSink = {
      publish: () => void reader.resume(sink),
      ack: () => undefined,
      packet: () => undefined,
    };
    expect(() => reader.push(wire([message('x')]), sink)).toThrow(InvariantError);
  });
});

describe('view', () => {
  it('points into the chunk without copying', () => {
    const bytes = wire([message('first'), message('second')]);
    const seen: Buffer[] = [];
    const sink: PacketSink = {
      publish: (view) => {
        expect(view.buffer).toBe(bytes);
        seen.push(view.payload());
      },
      ack: () => undefined,
      packet: () => undefined,
    };
    serverReader().push(bytes, sink);
    expect(seen.map(String)).toEqual(['first', 'second']);
    expect(seen[1]!.buffer).toBe(bytes.buffer);
  });

  it('leaves slices of earlier packets alone, also of those that came in pieces', () => {
    const payloads = Array.from({ length: 50 }, (_, index) => `payload number ${index} ${'x'.repeat(index)}`);
    const bytes = wire(payloads.map((payload) => message(payload)));
    for (const size of [1, 5, 17, 40, 100]) {
      const reader = serverReader();
      const slices: Buffer[] = [];
      const sink: PacketSink = {
        publish: (view) => void slices.push(view.payload()),
        ack: () => undefined,
        packet: () => undefined,
      };
      for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size), sink);
      expect(slices.map(String)).toEqual(payloads);
    }
  });

  it('forgets the properties of the packet before', () => {
    const reader = serverReader();
    reader.version = 5;
    const all = {
      payloadFormat: 1,
      messageExpiry: 9,
      contentType: 't',
      responseTopic: 'r',
      correlationData: Buffer.from('c'),
      topicAlias: 3,
      userProperties: [['k', 'v']] as [string, string][],
    };
    const views: object[] = [];
    const sink: PacketSink = {
      publish: (view) => {
        const { topicAlias, payloadFormat, messageExpiry, userPropertyCount } = view;
        const { contentTypeStart, responseTopicStart, correlationDataStart } = view;
        const starts = [contentTypeStart, responseTopicStart, correlationDataStart];
        views.push({
          topicAlias,
          payloadFormat,
          messageExpiry,
          userPropertyCount,
          starts: starts.map((at) => at >= 0),
        });
      },
      ack: () => undefined,
      packet: () => undefined,
    };
    reader.push(
      wire([message('x', { properties: all }), message('y'), message('z', { properties: {} })], 5),
      sink,
    );
    const none = {
      topicAlias: 0,
      payloadFormat: -1,
      messageExpiry: -1,
      userPropertyCount: 0,
      starts: [false, false, false],
    };
    expect(views).toEqual([
      { topicAlias: 3, payloadFormat: 1, messageExpiry: 9, userPropertyCount: 1, starts: [true, true, true] },
      none,
      none,
    ]);
  });

  it('steps through user properties between others', () => {
    const reader = new PacketReader({ role: 'client', maxPacketBytes: 1000 });
    reader.version = 5;
    const pairs: string[] = [];
    const sink: PacketSink = {
      publish: (view) => {
        let at = view.nextUserProperty(view.propertiesStart);
        while (at >= 0) {
          const name = view.buffer.toString('utf8', view.nameStart, view.nameEnd);
          pairs.push(`${name}=${view.buffer.toString('utf8', view.valueStart, view.valueEnd)}`);
          at = view.nextUserProperty(at);
        }
      },
      ack: () => undefined,
      packet: () => undefined,
    };
    const property = (name: string, value: string) =>
      Buffer.concat([
        Buffer.from([0x26, 0, name.length]),
        Buffer.from(name),
        Buffer.from([0, value.length]),
        Buffer.from(value),
      ]);
    const section = Buffer.concat([
      property('a', '1'),
      Buffer.from([0x01, 1, 0x0b, 0x80, 0x01, 0x02, 0, 0, 0, 1, 0x23, 0, 1, 0x03, 0, 1, 0x26]),
      property('', 'two'),
      Buffer.from([0x09, 0, 2, 0x26, 0x26]),
      property('a', ''),
    ]);
    const body = Buffer.concat([Buffer.from([0, 1, 0x74, section.length]), section]);
    reader.push(Buffer.concat([Buffer.from([0x30, body.length]), body]), sink);
    expect(pairs).toEqual(['a=1', '=two', 'a=']);
  });

  it('gives the same string for the same topic', () => {
    const topics: string[] = [];
    const sink: PacketSink = {
      publish: (view) => void topics.push(view.topic()),
      ack: () => undefined,
      packet: () => undefined,
    };
    const names = ['a/b', 'a/c', 'a/b', 'é', 'x'.repeat(500), 'a/b', '__proto__'];
    serverReader().push(wire(names.map((topic) => message('', { topic }))), sink);
    expect(topics).toEqual(names);
  });

  it('tells runs of one topic from others, asked for or not, at every cut', () => {
    const names = [
      'a/b',
      'a/b',
      'a/c',
      'b/c',
      'b/c',
      'é/é',
      'é/é',
      'é/è',
      '',
      'é/è',
      '',
      '',
      'a/b',
      'a/bc',
      'a/b',
    ];
    const packets = names.map((topic) =>
      message('', { topic, properties: topic === '' ? { topicAlias: 1 } : {} }),
    );
    const bytes = wire(packets, 5);
    for (const step of [1, 2, 3]) {
      for (let cut = 0; cut <= bytes.length; cut++) {
        const topics: string[] = [];
        let index = 0;
        const sink: PacketSink = {
          publish: (view) => {
            if (index++ % step === 0) topics.push(view.topic());
          },
          ack: () => undefined,
          packet: () => undefined,
        };
        const reader = serverReader();
        reader.version = 5;
        reader.push(bytes.subarray(0, cut), sink);
        reader.push(bytes.subarray(cut), sink);
        expect(topics).toEqual(names.filter((_, at) => at % step === 0));
      }
    }
  });

  it('takes nothing from the packet before when a chunk is filled again', () => {
    const topics: string[] = [];
    const sink: PacketSink = {
      publish: (view) => void topics.push(view.topic()),
      ack: () => undefined,
      packet: () => undefined,
    };
    const reader = serverReader();
    const chunk = wire([message('', { topic: 'a/b' })]);
    for (const name of ['a/b', 'x/y', 'x/y', 'a/b']) {
      chunk.write(name, 4);
      reader.push(chunk, sink);
    }
    expect(topics).toEqual(['a/b', 'x/y', 'x/y', 'a/b']);
  });
});
