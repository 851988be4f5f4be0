import type { FoldItem } from '@robustmq/kernel';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  applyItem,
  folded,
  inflightOf,
  offsets,
  plain,
  sessionOf,
  shard,
  subscriptionOf,
} from './session-fold-fixture.ts';
import {
  acknowledgedItem,
  cursorItem,
  deletedItem,
  floorItem,
  headItem,
  inflightItem,
  subscriptionItem,
  unsubscribedItem,
  willItem,
} from './session-items.ts';
import type { SessionState, StoredWill } from './session-state.ts';

const session = sessionOf();
const smallWill: StoredWill = { topic: 'w', payload: Buffer.from('x'), qos: 1, retain: true, properties: {} };
const fullWill: StoredWill = {
  topic: 'w',
  payload: Buffer.alloc(0),
  qos: 2,
  retain: false,
  properties: {
    willDelay: 5,
    payloadFormat: 1,
    messageExpiry: 60,
    contentType: 'ct',
    responseTopic: 'rt',
    correlationData: Buffer.from([0xff]),
    userProperties: [
      ['k', 'v'],
      ['k', ''],
    ],
  },
};

/** One way to write each item: its name, the item, its key and value on disk in hex. */
const golden: [name: string, item: FoldItem, key: string, value: string | null][] = [
  [
    'head, connected',
    headItem(session),
    '0002 6331 01',
    '01 00000003 01 000000000000004d0100000e10000000000000000000000000',
  ],
  [
    'head, behind, with inbound shards',
    headItem(sessionOf({ behind: true, inboundShards: new Set([shard(7), shard(9)]) })),
    '0002 6331 01',
    '01 00000003 01 000000000000004d0300000e100000000000000000000000020000000700000009',
  ],
  [
    'head, disconnected, never expires',
    headItem(sessionOf({ connected: false, disconnectedAt: 1_700_000_000_000, expirySeconds: 0xffff_ffff })),
    '0002 6331 01',
    '01 00000003 01 000000000000004d00ffffffff0000018bcfe5680000000000',
  ],
  [
    'will',
    willItem(sessionOf({ will: smallWill })),
    '0002 6331 02',
    '01 00000003 01 00000001770000000178010100',
  ],
  [
    'will with all properties',
    willItem(sessionOf({ will: fullWill })),
    '0002 6331 02',
    '01 00000003 01 00000001770000000002007f00000005010000003c00000002637400000002727400000001ff00000002000000016b0000000176000000016b00000000',
  ],
  ['no will', willItem(session), '0002 6331 02', '01 00000003 00'],
  [
    'subscription',
    subscriptionItem(session, subscriptionOf()),
    '0002 6331 03 612f23',
    '01 00000003 01 01000000000000000100000007000000000000000a',
  ],
  [
    'subscription with all options',
    subscriptionItem(
      session,
      subscriptionOf({
        filter: 'é',
        qos: 2,
        noLocal: true,
        retainAsPublished: true,
        retainHandling: 2,
        subscriptionId: 268_435_455,
        since: new Map(),
        retainedDue: true,
      }),
    ),
    '0002 6331 03 c3a9',
    '01 00000003 01 6e0fffffff00000000',
  ],
  [
    'subscription at QoS 0',
    subscriptionItem(session, subscriptionOf({ qos: 0, retainHandling: 1 })),
    '0002 6331 03 612f23',
    '01 00000003 01 10000000000000000100000007000000000000000a',
  ],
  ['unsubscribed', unsubscribedItem(session, 'a/#'), '0002 6331 03 612f23', '01 00000003 00'],
  [
    'cursor',
    cursorItem(sessionOf({ cursors: offsets({ 7: 0x1_0000_0002 }) }), shard(7)),
    '0002 6331 04 00000007',
    '01 00000003 01 0000000100000002',
  ],
  ['no cursor', cursorItem(session, shard(7)), '0002 6331 04 00000007', '01 00000003 00'],
  [
    'in flight',
    inflightItem(session, inflightOf(500)),
    '0002 6331 05 01f4',
    '01 00000003 01 0000000700000000000001f40100000000',
  ],
  [
    'in flight, released',
    inflightItem(
      session,
      inflightOf(1, { qos: 2, phase: 'released', retain: true, subscriptionIds: [3, 4] }),
    ),
    '0002 6331 05 0001',
    '01 00000003 01 0000000700000000000000010e000000020000000300000004',
  ],
  [
    'in flight, retained',
    inflightItem(session, inflightOf(65_535, { retainedSubject: 'a/b', retain: true })),
    '0002 6331 05 ffff',
    '01 00000003 01 00000007000000000000ffff1900000003612f6200000000',
  ],
  ['acknowledged', acknowledgedItem(session, 500), '0002 6331 05 01f4', '01 00000003 00'],
  ['deleted', deletedItem('c1'), '0002 6331 01', null],
  [
    'floors',
    floorItem(offsets({ 7: 100, 9: 0 })),
    '0000 06',
    '01 00000002 000000070000000000000064 000000090000000000000000',
  ],
];

describe('items on disk', () => {
  it.each(golden)('semantics 5.4: the bytes of an item never change: %s', (_name, item, key, value) => {
    expect(Buffer.from(item.key).toString('hex')).toBe(key.replaceAll(' ', ''));
    const hex = item.value === null ? null : Buffer.from(item.value).toString('hex');
    expect(hex).toBe(value === null ? null : value.replaceAll(' ', ''));
  });
});

/** What the log makes of a session's items. */
function read(of: SessionState, ...items: FoldItem[]): SessionState | undefined {
  const state = folded([headItem(of), ...items]);
  expect(state.damaged).toBe(0);
  return state.sessions.get(of.clientId);
}

describe('items read again', () => {
  it.each<[string, Partial<SessionState>]>([
    ['connected', {}],
    ['behind', { behind: true }],
    ['disconnected', { connected: false, disconnectedAt: 1_700_000_000_000 }],
    ['never expires', { expirySeconds: 0xffff_ffff }],
    ['inbound shards', { inboundShards: new Set([shard(7), shard(9)]) }],
    ['highest epoch and producer id', { epoch: 0x7fff_ffff, producerId: Number.MAX_SAFE_INTEGER }],
    ['a client id that is not ASCII', { clientId: 'Gerät/🙂' }],
  ])('head: %s', (_name, changes) => {
    const of = sessionOf(changes);
    expect(read(of)).toEqual(of);
  });

  it.each<[string, StoredWill]>([
    ['without properties', smallWill],
    ['with all properties', fullWill],
    ['with empty ones', { ...smallWill, properties: { willDelay: 0, contentType: '', userProperties: [] } }],
  ])('will: %s', (_name, will) => {
    const of = sessionOf({ will });
    const found = read(of, willItem(of));
    expect(found?.will).toStrictEqual(will);
    const gone = sessionOf();
    expect(read(of, willItem(of), willItem(gone))?.will).toBeNull();
  });

  it.each([
    ['plain', subscriptionOf()],
    ['QoS 0', subscriptionOf({ qos: 0 })],
    ['all options', subscriptionOf({ qos: 2, noLocal: true, retainAsPublished: true, retainHandling: 2 })],
    ['identifier', subscriptionOf({ subscriptionId: 268_435_455, retainHandling: 1 })],
    ['several shards', subscriptionOf({ since: offsets({ 1: 0, 2: Number.MAX_SAFE_INTEGER }) })],
    ['retained due', subscriptionOf({ retainedDue: true, filter: '+/é/#' })],
  ])('subscription: %s', (_name, subscription) => {
    const found = read(session, subscriptionItem(session, subscription));
    expect([...found!.subscriptions]).toStrictEqual([[subscription.filter, subscription]]);
    const items = [subscriptionItem(session, subscription), unsubscribedItem(session, subscription.filter)];
    expect(read(session, ...items)!.subscriptions.size).toBe(0);
  });

  it('cursor: set, moved, and gone', () => {
    const of = sessionOf({ cursors: offsets({ 7: 5, 9: 0 }) });
    const items = [cursorItem(of, shard(7)), cursorItem(of, shard(9))];
    of.cursors.set(shard(7), 6);
    items.push(cursorItem(of, shard(7)));
    of.cursors.delete(shard(9));
    expect(read(of, ...items)!.cursors).toEqual(offsets({ 7: 6, 9: 0 }));
    expect(read(of, ...items, cursorItem(of, shard(9)))!.cursors).toEqual(offsets({ 7: 6 }));
  });

  it.each([
    ['QoS 1', inflightOf(1)],
    ['QoS 2', inflightOf(65_535, { qos: 2, offset: Number.MAX_SAFE_INTEGER })],
    ['released', inflightOf(2, { qos: 2, phase: 'released' })],
    ['retained, with an empty subject', inflightOf(3, { retainedSubject: '', retain: true })],
    ['identifiers', inflightOf(4, { subscriptionIds: [1, 268_435_455] })],
  ])('in flight: %s', (_name, entry) => {
    const item = inflightItem(session, entry);
    expect([...read(session, item)!.inflight]).toStrictEqual([[entry.packetId, entry]]);
    expect(read(session, item, acknowledgedItem(session, entry.packetId))!.inflight.size).toBe(0);
  });

  it('semantics 4.1: messages in flight keep their order, whatever happens to single ones', () => {
    const released = inflightOf(8, { qos: 2, phase: 'released' });
    const found = read(
      session,
      ...[9, 8, 2].map((id) => inflightItem(session, inflightOf(id))),
      inflightItem(session, released),
      acknowledgedItem(session, 9),
      ...[1, 9].map((id) => inflightItem(session, inflightOf(id))),
    );
    expect([...found!.inflight.keys()]).toEqual([8, 2, 1, 9]);
    expect(found!.inflight.get(8)).toEqual(released);
  });

  it('storage 4.4: floors replace those before', () => {
    const state = folded([floorItem(offsets({ 7: 100, 9: 3 })), floorItem(offsets({ 7: 101 }))]);
    expect(state.floors).toEqual(offsets({ 7: 101 }));
  });
});

describe('damaged records', () => {
  const everything = [
    headItem(session),
    willItem(sessionOf({ will: fullWill })),
    subscriptionItem(session, subscriptionOf()),
    cursorItem(sessionOf({ cursors: offsets({ 7: 5 }) }), shard(7)),
    inflightItem(session, inflightOf(1, { subscriptionIds: [1] })),
    floorItem(offsets({ 7: 5 })),
  ];
  const before = folded(everything);

  it.each(everything.map((item, at) => [at, item] as const))(
    'a short, a longer and a later value is counted and changes nothing: item %i',
    (_at, { key, value }) => {
      const state = folded(everything);
      const good = Buffer.from(value!);
      const bad = Array.from(good, (_byte, length) => good.subarray(0, length));
      bad.push(Buffer.concat([good, Buffer.alloc(1)]));
      bad.push(Buffer.concat([Buffer.from([2]), good.subarray(1)]));
      for (const each of bad) applyItem(state, { key, value: each });
      expect(state.damaged).toBe(bad.length);
      expect(plain({ ...state, damaged: 0 })).toEqual(plain(before));
    },
  );

  it.each([
    ['empty', ''],
    ['short client id', '0005 6331 01'],
    ['no kind', '0002 6331'],
    ['unknown kind', '0002 6331 07'],
    ['floors of a client', '0002 6331 06'],
    ['head of nobody', '0000 01'],
    ['client id that is no UTF-8', '0002 ffff 01'],
    ['filter that is no UTF-8', '0002 6331 03 ff'],
    ['bytes behind a head', '0002 6331 01 00'],
    ['short shard', '0002 6331 04 000000'],
    ['long packet id', '0002 6331 05 000001'],
  ])('a key that says nothing is counted and changes nothing: %s', (_name, hex) => {
    const state = folded(everything);
    const key = Buffer.from(hex.replaceAll(' ', ''), 'hex');
    for (const value of [null, everything[0]!.value]) applyItem(state, { key, value });
    expect(state.damaged).toBe(2);
    expect(plain({ ...state, damaged: 0 })).toEqual(plain(before));
  });

  it.each([
    ['QoS 3 in a will', 1, 17, 3],
    ['QoS 3 in a subscription', 2, 6, 3],
    ['retain handling 3', 2, 6, 0x30],
    ['QoS 0 in flight', 4, 18, 0],
    ['negative cursor', 3, 6, 0xff],
    ['neither there nor gone', 4, 5, 2],
  ])('a value out of range is counted and changes nothing: %s', (_name, at, position, byte) => {
    const state = folded(everything);
    const { key, value } = everything[at]!;
    const bad = Buffer.from(value!);
    bad[position] = byte;
    applyItem(state, { key, value: bad });
    expect(state.damaged).toBe(1);
    expect(plain({ ...state, damaged: 0 })).toEqual(plain(before));
  });

  it('any bytes are taken without an exception', () => {
    fc.assert(
      fc.property(fc.array(garbage, { maxLength: 20 }), (records) => {
        const state = folded(everything);
        for (const record of records) applyItem(state, record);
      }),
      { numRuns: 500 },
    );
  });

  const bytes = fc.uint8Array({ maxLength: 40 });
  const keys = fc.constantFrom(...everything.map(({ key }) => key));
  const prefixed = bytes.map((rest) => Buffer.concat([Buffer.from('010000000301', 'hex'), rest]));
  const garbage: fc.Arbitrary<FoldItem> = fc.record({
    key: fc.oneof(bytes, keys),
    value: fc.oneof(bytes, prefixed, fc.constant(null)),
  });
});
