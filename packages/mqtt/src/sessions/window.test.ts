import type { ShardId } from '@robustmq/core';
import { describe, expect, it } from 'vitest';
import { createSession } from './session-state.ts';
import { Window } from './window.ts';

const source = { shard: 3 as ShardId, offset: 10, retainedSubject: null, ids: [] };

function emptyWindow(logged: boolean): Window {
  return new Window(createSession({ clientId: 'c', producerId: 1, expirySeconds: 60 }), logged);
}

describe('packet ids to a client', () => {
  for (const logged of [true, false]) {
    it(`mqtt defect 20: never name two messages at once, also after wrapping round, ${logged ? '' : 'not '}logged`, () => {
      const window = emptyWindow(logged);
      const held = window.add(1, false, source);
      const seen = new Set<number>();
      for (let count = 0; count < 140_000; count++) {
        const packetId = window.add(1, false, { ...source, offset: count });
        expect(packetId === held || packetId < 1 || packetId > 65_535).toBe(false);
        seen.add(packetId);
        window.remove(packetId);
      }
      expect(seen.size).toBe(65_534);
      expect(window.size).toBe(1);
    });
  }

  it('go on behind those that were in flight when the session was resumed', () => {
    const state = createSession({ clientId: 'c', producerId: 1, expirySeconds: 60 });
    const before = new Window(state, true);
    const first = before.add(1, false, source);
    const second = before.add(2, false, { ...source, offset: 11 });
    const after = new Window(state, true);
    expect(after.add(1, false, { ...source, offset: 12 })).toBe(3);
    expect(after.wasInflight(source.shard, 10) && after.wasInflight(source.shard, 11)).toBe(true);
    expect(after.wasInflight(source.shard, 12)).toBe(false);
    expect(after.entries().map((entry) => entry.packetId)).toEqual([first, second, 3]);
  });
});

describe('what the log knows of a window', () => {
  it('is told once, and bounds the floor until then', () => {
    const window = emptyWindow(true);
    const first = window.add(1, false, source);
    window.add(1, false, { ...source, offset: 5 });
    expect(window.lowestUnrecorded(source.shard)).toBe(5);
    expect(window.lowestUnrecorded(4 as ShardId)).toBe(Infinity);
    expect(window.takeUnrecorded().map((entry) => entry.offset)).toEqual([10, 5]);
    expect(window.takeUnrecorded()).toEqual([]);
    expect(window.lowestUnrecorded(source.shard)).toBe(Infinity);
    expect(window.remove(first)).toBe(true);
  });

  it('is nothing of a message that was acknowledged before it was written', () => {
    const window = emptyWindow(true);
    expect(window.remove(window.add(1, false, source))).toBe(false);
    expect(window.takeUnrecorded()).toEqual([]);
  });
});
