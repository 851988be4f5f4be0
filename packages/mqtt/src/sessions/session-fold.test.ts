import type { FoldItem } from '@robustmq/kernel';
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
import { sessionKind } from './session-fold.ts';
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
import type { SessionShard, SessionState } from './session-state.ts';
import { createSession, effectiveCursor } from './session-state.ts';

const kind = sessionKind();

/** A fold shard with these sessions and floors. */
function shardOf(sessions: readonly SessionState[], floors: Record<number, number> = {}): SessionShard {
  const state = kind.create(0);
  for (const session of sessions) state.sessions.set(session.clientId, session);
  for (const [id, offset] of offsets(floors)) state.floors.set(id, offset);
  return state;
}

/** A session with something of everything. */
function fullSession(changes: Partial<SessionState> = {}): SessionState {
  return sessionOf({
    will: { topic: 'w', payload: Buffer.from('x'), qos: 1, retain: true, properties: { willDelay: 9 } },
    subscriptions: new Map([['a/#', subscriptionOf()]]),
    cursors: offsets({ 7: 40 }),
    inflight: new Map([[5, inflightOf(5)]]),
    inboundShards: new Set([shard(7)]),
    ...changes,
  });
}

function itemsOf(session: SessionState): FoldItem[] {
  return [...kind.live(shardOf([session]))];
}

describe('the kind', () => {
  it('semantics 1.6: is registered for __sessions with 16 shards, and applied by the adapter', () => {
    expect(kind).toMatchObject({ topic: '__sessions', shards: 16, applyAt: 'caller' });
    expect(sessionKind(4).shards).toBe(4);
  });
});

describe('sessions', () => {
  it('semantics 5.4: deleting a session is one record that voids all its items, and those of no other', () => {
    const other = fullSession({ clientId: 'c2' });
    const state = folded([...itemsOf(fullSession()), ...itemsOf(other), deletedItem('c1')]);
    expect(plain(state)).toEqual(plain(shardOf([other])));
    applyItem(state, headItem(sessionOf()));
    expect(state.sessions.get('c1')).toEqual(sessionOf());
  });

  it('semantics 5.4: after a deletion a late item makes no session', () => {
    const late = itemsOf(fullSession()).slice(1, -1);
    const state = folded([...itemsOf(fullSession()), deletedItem('c1'), ...late]);
    expect(state.sessions.size).toBe(0);
    expect(state.damaged).toBe(0);
  });

  it('semantics 5.4: a head with another producer id is another session', () => {
    const clean = sessionOf({ producerId: 78, epoch: 1 });
    expect(plain(folded([...itemsOf(fullSession()), headItem(clean)]))).toEqual(plain(shardOf([clean])));
  });

  it('semantics 5.4: a session resumed in a higher epoch keeps what it has', () => {
    const state = folded([...itemsOf(fullSession()), headItem(sessionOf({ epoch: 9 }))]);
    expect(plain(state)).toEqual(plain(shardOf([fullSession({ epoch: 9, inboundShards: new Set() })])));
  });

  it('semantics 5.4: items of a lower epoch than the head are void, heads and removals as well', () => {
    const now = fullSession({ epoch: 4 });
    const late = sessionOf({ epoch: 3, connected: false, cursors: offsets({ 7: 99, 8: 1 }) });
    const state = folded([
      ...itemsOf(now),
      headItem(late),
      willItem(late),
      subscriptionItem(late, subscriptionOf({ filter: 'late' })),
      unsubscribedItem(late, 'a/#'),
      cursorItem(late, shard(7)),
      cursorItem(late, shard(8)),
      cursorItem(late, shard(9)),
      inflightItem(late, inflightOf(6)),
      acknowledgedItem(late, 5),
    ]);
    expect(plain(state)).toEqual(plain(shardOf([now])));
  });

  it('tombstones of single items remove them', () => {
    const items = itemsOf(fullSession());
    const state = folded([...items, ...items.slice(1, -1).map(({ key }) => ({ key, value: null }))]);
    const bare = sessionOf({ inboundShards: new Set([shard(7)]) });
    expect(plain(state)).toEqual(plain(shardOf([bare])));
  });
});

describe('cursors', () => {
  it.each<[string, Partial<SessionState>, number | undefined, number | undefined, number | undefined]>([
    ['neither', {}, undefined, undefined, undefined],
    ['own alone', {}, 5, undefined, 5],
    ['floor alone', {}, undefined, 6, 6],
    ['floor above own', {}, 5, 6, 6],
    ['own above floor', {}, 7, 6, 7],
    ['own at 0', {}, 0, undefined, 0],
    ['behind: own', { behind: true }, 5, 6, 5],
    ['behind without one', { behind: true }, undefined, 6, undefined],
    ['disconnected: own', { connected: false }, 5, 6, 5],
    ['disconnected without one', { connected: false }, undefined, 6, undefined],
  ])('storage 4.4: %s', (_name, changes, own, floor, expected) => {
    const session = sessionOf({ ...changes, cursors: offsets(own === undefined ? {} : { 7: own }) });
    const state = shardOf([session], floor === undefined ? {} : { 7: floor });
    expect(effectiveCursor(state, session, shard(7))).toBe(expected);
  });
});

describe('floors for retention', () => {
  const filters = new Map([['a/#', subscriptionOf({ since: offsets({ 7: 10 }) })]]);
  const qos0 = new Map([['a/#', subscriptionOf({ qos: 0, since: offsets({ 7: 10 }) })]]);
  const offline: Partial<SessionState> = { connected: false, subscriptions: filters };

  it.each<[string, Partial<SessionState>[], Record<number, number>, Record<number, number>]>([
    ['no session', [], { 7: 5 }, {}],
    ['an offline cursor', [{ ...offline, cursors: offsets({ 7: 40, 8: 3 }) }], {}, { 7: 40, 8: 3 }],
    [
      'floors are not for offline sessions',
      [{ ...offline, cursors: offsets({ 7: 40 }) }],
      { 7: 50 },
      { 7: 40 },
    ],
    ['before a cursor, where filters begin', [offline], { 7: 50 }, { 7: 10 }],
    [
      'the lowest of several',
      [
        { ...offline, cursors: offsets({ 7: 40 }) },
        { ...offline, cursors: offsets({ 7: 30 }) },
      ],
      {},
      { 7: 30 },
    ],
    [
      'a floor above an own cursor',
      [{ subscriptions: filters, cursors: offsets({ 7: 40 }) }],
      { 7: 50 },
      { 7: 50 },
    ],
    [
      'an own cursor above a floor',
      [{ subscriptions: filters, cursors: offsets({ 7: 60 }) }],
      { 7: 50 },
      { 7: 60 },
    ],
    ['a floor for who has no cursor', [{ subscriptions: filters }], { 7: 50, 9: 1 }, { 7: 50, 9: 1 }],
    [
      'own cursors of who is behind',
      [{ behind: true, subscriptions: filters, cursors: offsets({ 7: 40 }) }],
      { 7: 50 },
      { 7: 40 },
    ],
    ['QoS 0 reads no log', [{ subscriptions: qos0, cursors: offsets({ 7: 40 }) }], { 7: 50 }, {}],
    ['no filter, no need', [{ connected: false, cursors: offsets({ 7: 40 }) }], {}, {}],
    [
      'in flight',
      [{ ...offline, cursors: offsets({ 7: 40 }), inflight: new Map([[5, inflightOf(5)]]) }],
      {},
      { 7: 5 },
    ],
    ['in flight of who has unsubscribed', [{ inflight: new Map([[5, inflightOf(5)]]) }], { 7: 50 }, { 7: 5 }],
    [
      'in flight, found by its subject',
      [{ inflight: new Map([[5, inflightOf(5, { retainedSubject: 'a' })]]) }],
      {},
      {},
    ],
    [
      'in flight, released: not read again',
      [{ inflight: new Map([[5, inflightOf(5, { qos: 2, phase: 'released' })]]) }],
      {},
      {},
    ],
  ])('semantics 6.1: %s', (_name, sessions, floors, expected) => {
    const made = sessions.map((changes, at) => sessionOf({ clientId: `c${at}`, ...changes }));
    expect(new Map(kind.floors!(shardOf(made, floors)))).toEqual(offsets(expected));
  });
});

describe('live items', () => {
  it('storage 4.2: make the state again, what is not recorded in flight aside', () => {
    const session = fullSession({
      inflight: new Map([1, 2].map((id) => [id, inflightOf(id)])),
      unrecorded: new Set([2]),
    });
    const state = shardOf([session, fullSession({ clientId: 'c2', connected: false })], { 7: 4 });
    const again = folded(kind.live(state));
    expect(plain(again)).toEqual(plain(state));
    expect([...again.sessions.get('c1')!.inflight.keys()]).toEqual([1]);
  });

  it('storage 4.4: a copy that is cut lets no floor speak for a session whose cursors are missing', () => {
    const session = sessionOf({ behind: true, cursors: offsets({ 7: 20 }) });
    const old = [headItem(session), cursorItem(session, shard(7)), floorItem(offsets({ 7: 50 }))];
    // It caught up since; what it has in flight below the floor is in the copy alone.
    const inflight = new Map([[30, inflightOf(30)]]);
    const now = sessionOf({ cursors: offsets({ 7: 50 }), inflight });
    const copy = [...kind.live(shardOf([now], { 7: 50 }))];
    const seen = copy.map((_item, cut) => {
      const state = folded([...old, ...copy.slice(0, cut)]);
      const found = state.sessions.get('c1')!;
      return found.inflight.has(30) || effectiveCursor(state, found, shard(7))! <= 30;
    });
    expect(seen).toEqual(copy.map(() => true));
  });

  it('storage 4.4: floors are those of the beginning', () => {
    const state = shardOf([fullSession()], { 7: 4 });
    const live = kind.live(state);
    state.floors.set(shard(7), 5);
    expect(folded(live).floors).toEqual(offsets({ 7: 4 }));
  });

  it('storage 4.2: epochs are those of the beginning, so that changes behind the copy are not void', () => {
    const session = fullSession();
    const state = shardOf([session]);
    const live = kind.live(state);
    const unsubscribed = unsubscribedItem(session, 'a/#');
    session.subscriptions.clear();
    session.epoch++;
    const resumed = headItem(session);
    const before = itemsOf(fullSession());
    expect(plain(folded([...before, ...live, unsubscribed, resumed]))).toEqual(plain(state));
  });

  it('storage 4.2: sessions that go, come, and come again meanwhile', () => {
    const state = shardOf(['c1', 'c2', 'c3'].map((clientId) => fullSession({ clientId })));
    const live = kind.live(state)[Symbol.iterator]();
    const items = [live.next().value as FoldItem];
    state.sessions.delete('c1');
    state.sessions.delete('c2');
    state.sessions.set('c2', sessionOf({ clientId: 'c2', producerId: 99 }));
    state.sessions.set('c4', sessionOf({ clientId: 'c4' }));
    for (let next = live.next(); next.done !== true; next = live.next()) items.push(next.value);
    expect([...folded(items).sessions.keys()]).toEqual(['c1', 'c3']);
  });
});

describe('liveBytes', () => {
  it.each([0, 1, 1000])('is near what live yields: %i sessions', (count) => {
    const state = kind.create(0);
    for (let at = 0; at < count; at++) {
      const session = fullSession({ clientId: `client-${at}` });
      for (let id = 1; id <= at % 20; id++) session.inflight.set(id, inflightOf(id));
      state.sessions.set(session.clientId, session);
    }
    let bytes = 0;
    for (const { key, value } of kind.live(state)) bytes += key.length + value!.length;
    expect(kind.liveBytes(state)).toBeGreaterThanOrEqual(bytes);
    expect(kind.liveBytes(state)).toBeLessThanOrEqual(bytes * 2);
  });

  it('costs the same for any number of sessions', () => {
    const state = kind.create(0);
    const looked = { count: 0 };
    for (let at = 0; at < 1000; at++) {
      const session = createSession({ clientId: `client-${at}`, producerId: 1, expirySeconds: 1 });
      const counted = new Proxy(session, {
        get(target, name) {
          if (name === 'subscriptions') looked.count++;
          return Reflect.get(target, name);
        },
      });
      state.sessions.set(session.clientId, counted);
    }
    kind.liveBytes(state);
    expect(looked.count).toBe(256);
  });
});
