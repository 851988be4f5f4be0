import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MappingFixture } from './mapping-fixture.ts';
import type { HeaderText } from './mapping-fixture.ts';
import { OutboundMessage } from './outbound.ts';

const world = new MappingFixture();
const clients = ['me', 'us', ''];
const expiry: HeaderText = ['mqtt.expires-at', '1700000001000'];
const color: HeaderText = ['color', 'red'];

/** Few different ones: the same headers follow each other as often as others of the same length. */
const mq = fc
  // Guarantees, retain, text, bytes; the last is none.
  .record({ flags: fc.constantFrom(0, 1, 2, 4, 6, 8, 0x40, 3), client: fc.constantFrom(...clients) })
  .map(({ flags, client }): HeaderText => ['mq', Buffer.concat([Buffer.from([flags]), Buffer.from(client)])]);
const headers = fc.oneof(
  { weight: 4, arbitrary: mq.map((own) => [own]) },
  mq.map((own) => [own, expiry]),
  mq.map((own) => [color, own]),
  fc.tuple(mq, mq),
  fc.constant([]),
);
const record = fc.record({ key: fc.constant('k'), value: fc.constantFrom('', 'x', null), headers });

/** What receivers learn of a message. */
function told(message: OutboundMessage): unknown {
  const { guarantee, retain, expiresAt, payloadFormat } = message;
  const from = clients.map((client) => message.isFrom(Buffer.from(client)));
  const form = { qos: 1, retain: true, dup: false, packetId: 7, properties: null, now: world.now } as const;
  const packets = ([4, 5] as const).map((version) => {
    const bytes = Buffer.alloc(message.size(version, form));
    message.write(bytes, 0, version, form);
    return bytes.toString('hex');
  });
  return { guarantee, retain, expiresAt, payloadFormat, from, packets };
}

describe('a message that is read behind others', () => {
  it('is what it is alone, in whatever order rows are read', () => {
    const message = new OutboundMessage();
    const batch = fc.record({
      records: fc.array(record, { minLength: 1, maxLength: 30 }),
      trusted: fc.boolean(),
    });
    const steps = fc.array(fc.record({ back: fc.nat(2), clear: fc.boolean() }), {
      minLength: 30,
      maxLength: 30,
    });
    const play = fc.property(batch, steps, ({ records, trusted }, jumps) => {
      const stored = world.produce('orders', records, trusted);
      for (let at = 0; at < records.length; at++) {
        const { back, clear } = jumps[at]!;
        if (clear && back === 0) message.clear();
        const row = Math.max(at - back, 0);
        message.read(stored, row);
        const alone = new OutboundMessage();
        alone.read(stored, row);
        expect(told(message)).toEqual(told(alone));
      }
    });
    fc.assert(play, { numRuns: 200 });
  });

  it('is itself also when the bytes of those have changed since: other batches may lie in the same memory', () => {
    const message = new OutboundMessage();
    const first = world.produce('orders', [{ headers: [['mq', Buffer.from([1])]] }], true);
    const second = world.produce('orders', [{ headers: [['mq', Buffer.from([2])]] }], true);
    message.read(first, 0);
    second.records.buffer.copy(first.records.buffer);
    message.read(second, 0);
    expect(message.guarantee).toBe(2);
  });
});
