import { RobustError } from '@robustmq/core';
import type { JournalUuid, NodeId, SegmentId, ShardId } from '@robustmq/core';
import type { MetadataCommand } from '@robustmq/kernel';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { CheckedWriter } from '../codec/checked-writer.ts';
import { decodeCommand, encodeCommand } from '../codec/command-codec.ts';
import type { Dice } from '../testing/commands.ts';
import {
  accept,
  codeOf,
  commandFrom,
  createTopic,
  diceKinds,
  journal,
  node,
  registerJournal,
  roll,
  run,
  seal,
  startBroker,
  stateOptions,
  topicId,
} from '../testing/commands.ts';
import { ContentHash } from './content-hash.ts';
import { MetadataState } from './metadata-state.ts';
import type { StoredShard } from './tables.ts';

let state: MetadataState;

beforeEach(() => {
  state = new MetadataState(stateOptions);
  run(state, registerJournal(), startBroker());
});

function newShard(name = 'events', config: Record<string, string> = {}): StoredShard {
  const { topic } = accept(state, createTopic(name, { config }));
  return current(topic!.shards[0]!);
}

function current(shard: ShardId | StoredShard): StoredShard {
  return state.shards.get(typeof shard === 'number' ? shard : shard.id)!;
}

/** A shard whose sealed segments end at these offsets, with an open one behind them. */
function filled(...ends: number[]): StoredShard {
  const shard = newShard();
  accept(state, roll(shard, null));
  for (const end of ends) accept(state, roll(current(shard), end));
  return current(shard);
}

describe('topics', () => {
  test.each([
    ['', false],
    ['.', false],
    ['..', false],
    ['a/b', false],
    ['naïve', false],
    ['a'.repeat(250), false],
    ['__secret', false],
    ['public', true],
    ['__line\nbreak', true],
    [`__${'é'.repeat(124)}`, true],
  ])('the name %j (internal %j) is refused', (name, internal) => {
    expect(codeOf(state, createTopic(name, { internal }))).toBe('TOPIC_NAME_INVALID');
  });

  test.each([
    ['a', false],
    ['A.b_c-9', false],
    ['...', false],
    ['a'.repeat(249), false],
    ['_single', false],
    ['__sessions', true],
    ['__retained/a b', true],
  ])('the name %j (internal %j) is taken', (name, internal) => {
    expect(codeOf(state, createTopic(name, { internal }))).toBe('ok');
  });

  test('names are per tenant', () => {
    expect(codeOf(state, createTopic('a', { tenant: 't1' }))).toBe('ok');
    expect(codeOf(state, createTopic('a', { tenant: 't2' }))).toBe('ok');
    expect(codeOf(state, { ...createTopic('a', { tenant: 't2' }), id: topicId('x') })).toBe('TOPIC_EXISTS');
    expect(codeOf(state, createTopic('a', { tenant: '' }))).toBe('TOPIC_NAME_INVALID');
    expect(codeOf(state, createTopic('a', { tenant: 'x\u0000y' }))).toBe('TOPIC_NAME_INVALID');
  });

  test('an id belongs to one topic', () => {
    accept(state, createTopic('a'));
    expect(codeOf(state, { ...createTopic('b'), id: createTopic('a').id })).toBe('METADATA_CONFLICT');
    const id = 'not-hex' as ReturnType<typeof topicId>;
    expect(codeOf(state, { ...createTopic('b'), id })).toBe('METADATA_CONFLICT');
  });

  test.each([0, -1, 1.5, Number.NaN])('%d shards are refused', (shards) => {
    expect(codeOf(state, createTopic('a', { shards }))).toBe('SHARD_COUNT_INVALID');
  });

  test('semantics 8.1: a tenant has at most 20,000 shards, and deleting makes room', () => {
    expect(codeOf(state, createTopic('a', { shards: 20_001 }))).toBe('TOPIC_LIMIT');
    accept(state, createTopic('a', { shards: 19_999 }));
    const small = accept(state, createTopic('b')).topic!;
    expect(codeOf(state, createTopic('c'))).toBe('TOPIC_LIMIT');
    expect(codeOf(state, { kind: 'addShards', topic: small.id, shards: 2 })).toBe('TOPIC_LIMIT');
    expect(codeOf(state, createTopic('c', { tenant: 'other' }))).toBe('ok');
    accept(state, { kind: 'deleteTopic', topic: createTopic('a').id });
    expect(codeOf(state, createTopic('c', { shards: 5 }))).toBe('ok');
  });

  test('the default topic and bound topics are not compacted from the start either', () => {
    const compact = { 'cleanup.policy': 'compact' };
    expect(codeOf(state, createTopic('main', { config: compact }))).toBe('TOPIC_POLICY');
    const bound = { ...compact, 'subject.bind': 'true' };
    expect(codeOf(state, createTopic('b', { config: bound }))).toBe('TOPIC_POLICY');
    expect(codeOf(state, createTopic('b', { config: compact }))).toBe('ok');
    expect(codeOf(state, createTopic('main', { config: { 'subject.bind': 'true' } }))).toBe('TOPIC_POLICY');
  });

  test('a compacted topic cannot be bound, a bound one not compacted', () => {
    const topic = accept(state, createTopic('a', { config: { 'cleanup.policy': 'compact' } })).topic!.id;
    const changes = new Map([['subject.bind', 'true']]);
    expect(codeOf(state, { kind: 'configureTopic', topic, changes })).toBe('TOPIC_POLICY');
  });

  test('fixed keys may change again once all data is gone', () => {
    const shard = filled(10);
    const configure: MetadataCommand = {
      kind: 'configureTopic',
      topic: shard.topic,
      changes: new Map([['subject.bind', 'true']]),
    };
    expect(codeOf(state, configure)).toBe('TOPIC_CONFIG_INVALID');
    accept(state, roll(shard, 20, { open: false }));
    expect(codeOf(state, configure)).toBe('TOPIC_CONFIG_INVALID');
    accept(state, { kind: 'trimShard', shard: shard.id, startOffset: 20 });
    expect(codeOf(state, configure)).toBe('ok');
  });

  test('a value set to its default is no change of a fixed key', () => {
    const shard = filled(10);
    const changes = new Map([['subject.bind', 'false']]);
    expect(codeOf(state, { kind: 'configureTopic', topic: shard.topic, changes })).toBe('ok');
  });

  test('a topic in memory counts as holding data below its offset limit', () => {
    const shard = newShard('m', { storage: 'memory' });
    const { topic, id, ownerEpoch: epoch } = shard;
    accept(state, { kind: 'raiseOffsetLimit', shard: id, epoch, limit: 100 });
    const changes = new Map([['storage', 'journal']]);
    expect(codeOf(state, { kind: 'configureTopic', topic, changes })).toBe('TOPIC_CONFIG_INVALID');
  });

  test('unknown topics are not found', () => {
    const topic = topicId('none');
    expect(codeOf(state, { kind: 'deleteTopic', topic })).toBe('TOPIC_NOT_FOUND');
    expect(codeOf(state, { kind: 'addShards', topic, shards: 2 })).toBe('TOPIC_NOT_FOUND');
    expect(codeOf(state, { kind: 'configureTopic', topic, changes: new Map() })).toBe('TOPIC_NOT_FOUND');
  });

  test('new shards go to the broker with the fewest', () => {
    accept(state, createTopic('a', { shards: 2 }));
    accept(state, startBroker(2 as NodeId, false));
    const { topic } = accept(state, createTopic('b', { shards: 4 }));
    expect(topic!.shards.map((id) => current(id).owner)).toEqual([2, 2, 1, 2]);
  });

  test('without a broker there is no topic', () => {
    const empty = new MetadataState(stateOptions);
    const [result] = run(empty, createTopic('a'));
    expect(result).toMatchObject({ code: 'SHARD_UNAVAILABLE', retriable: true });
    expect(empty.counters.nextShard).toBe(1);
  });
});

describe('segments', () => {
  test('storage 4.1: (replication 2.10 I1) a start with takeAll raises 20,000 epochs in one command', () => {
    accept(state, createTopic('a', { shards: 20_000 }));
    const { changes } = state.apply(state.index + 1, startBroker());
    expect(changes.length).toBe(20_001);
    expect([...state.shards.values()].every((shard) => shard.ownerEpoch === 2)).toBe(true);
  });

  test('an empty segment may be sealed and followed at the same base', () => {
    const shard = filled(0);
    expect(shard.segments.map((segment) => [segment.state, segment.baseOffset])).toEqual([
      ['sealed', 0],
      ['open', 0],
    ]);
  });

  test.each([
    ['an end below its base', { endOffset: 9 }],
    ['records without an entry', { endEntry: -1 }],
    ['an impossible entry', { endEntry: -2 }],
    ['negative bytes', { bytes: -1 }],
  ])('a seal with %s is refused', (_name, wrong) => {
    const shard = filled(10);
    const sealed = { ...seal(shard.segments.at(-1)!.id, 20), ...wrong };
    expect(codeOf(state, roll(shard, null, { sealed }))).toBe('METADATA_CONFLICT');
    expect(current(shard)).toBe(shard);
  });

  test.each([
    ['begins elsewhere', { from: 21, to: 30, kind: 'lost' }],
    ['is empty', { from: 20, to: 20, kind: 'lost' }],
    ['ends before it begins', { from: 20, to: 19, kind: 'skipped' }],
  ] as const)('a hole that %s is refused', (_name, hole) => {
    const shard = filled(10);
    expect(codeOf(state, roll(shard, 20, { hole }))).toBe('METADATA_CONFLICT');
  });

  test('a log without an open segment continues at its end or behind a further hole', () => {
    const shard = filled(10);
    accept(state, roll(shard, 20, { open: false, hole: { from: 20, to: 25, kind: 'skipped' } }));
    expect(codeOf(state, roll(current(shard), 30))).toBe('METADATA_CONFLICT');
    accept(state, roll(current(shard), null, { hole: { from: 25, to: 40, kind: 'lost' } }));
    expect(current(shard).segments.at(-1)).toMatchObject({ baseOffset: 40, state: 'open', seq: 2 });
  });

  test('a log that lost all its segments continues where it ended', () => {
    const shard = filled(10, 20);
    accept(state, roll(shard, 30, { open: false }));
    accept(state, { kind: 'trimShard', shard: shard.id, startOffset: 30 });
    expect(current(shard).segments).toEqual([]);
    accept(state, roll(current(shard), null));
    expect(current(shard).segments[0]).toMatchObject({ baseOffset: 30, seq: 3 });
  });

  test('a new loss needs a new acceptance', () => {
    const shard = filled(10);
    accept(state, roll(shard, 20, { hole: { from: 20, to: 30, kind: 'lost' } }));
    accept(state, { kind: 'acceptLoss', shard: shard.id });
    accept(state, roll(current(shard), 40, { hole: { from: 40, to: 41, kind: 'skipped' } }));
    expect(current(shard).lossAccepted).toBe(true);
    accept(state, roll(current(shard), 50, { hole: { from: 50, to: 60, kind: 'lost' } }));
    expect(current(shard).lossAccepted).toBe(false);
  });

  test('acceptance of no loss is no standing acceptance', () => {
    const shard = newShard();
    expect(accept(state, { kind: 'acceptLoss', shard: shard.id }).shard!.lossAccepted).toBe(false);
  });

  test('storage 4.5: damage inside a segment of an internal topic can be accepted, until that data is trimmed', () => {
    const { topic } = accept(state, createTopic('__state', { internal: true }));
    const shard = current(topic!.shards[0]!);
    accept(state, { kind: 'acceptLoss', shard: shard.id });
    expect(current(shard).lossAccepted).toBe(true);
    accept(state, roll(current(shard), 0));
    accept(state, roll(current(shard), 40));
    expect(current(shard).lossAccepted).toBe(true);
    accept(state, { kind: 'trimShard', shard: shard.id, startOffset: 40 });
    expect(current(shard).lossAccepted).toBe(false);
  });

  test('replication 2.10 I15: a start inside the open segment keeps it, its later seal may end below', () => {
    const shard = filled(10);
    accept(state, { kind: 'trimShard', shard: shard.id, startOffset: 50 });
    expect(current(shard).segments).toHaveLength(1);
    accept(state, roll(current(shard), 30, { hole: { from: 30, to: 60, kind: 'skipped' } }));
    accept(state, { kind: 'trimShard', shard: shard.id, startOffset: 0 });
    expect(current(shard).segments.map((segment) => segment.baseOffset)).toEqual([60]);
    expect(current(shard).startOffset).toBe(50);
  });

  test('a log trimmed beyond what survived goes on at its start', () => {
    const shard = filled(10);
    accept(state, { kind: 'trimShard', shard: shard.id, startOffset: 50 });
    accept(state, roll(current(shard), 30, { open: false }));
    expect(current(shard)).toMatchObject({ segments: [], startOffset: 50, nextBase: 50 });
    accept(state, roll(current(shard), null));
    expect(current(shard).segments[0]!.baseOffset).toBe(50);
  });

  test('holes below the start leave with it', () => {
    const shard = filled(10);
    accept(state, roll(shard, 20, { hole: { from: 20, to: 30, kind: 'lost' } }));
    accept(state, { kind: 'trimShard', shard: shard.id, startOffset: 29 });
    expect(current(shard).holes).toHaveLength(1);
    accept(state, { kind: 'trimShard', shard: shard.id, startOffset: 30 });
    expect(current(shard).holes).toEqual([]);
  });

  test('a write set is every journal that is up, and without one nothing opens', () => {
    const second = 'c'.repeat(32) as JournalUuid;
    accept(state, registerJournal(second, 1, 2 as NodeId));
    const shard = newShard();
    accept(state, roll(shard, null));
    expect(current(shard).segments[0]!.writeSet).toEqual([journal, second]);
    const bare = new MetadataState(stateOptions);
    run(bare, startBroker(), createTopic('a'));
    const [result] = run(bare, roll(bare.shards.get(1 as ShardId)!, null));
    expect(result).toMatchObject({ code: 'SHARD_UNAVAILABLE', retriable: true });
  });

  test('an offset limit only grows', () => {
    const { id, ownerEpoch: epoch } = newShard();
    accept(state, { kind: 'raiseOffsetLimit', shard: id, epoch, limit: 10 });
    accept(state, { kind: 'raiseOffsetLimit', shard: id, epoch, limit: 5 });
    expect(current(id).offsetLimit).toBe(10);
  });
});

describe('compaction', () => {
  function swap(shard: StoredShard, at: number, ends: [number, number][], epoch?: number): string {
    const { firstId } = accept(state, { kind: 'allocateSegments', count: 10 });
    const removed = shard.segments.slice(at, -1);
    const added = ends.map(([baseOffset, endOffset], index) => ({
      id: (firstId! + index) as SegmentId,
      baseOffset,
      endOffset,
      writerEpoch: (epoch ?? shard.ownerEpoch) as StoredShard['ownerEpoch'],
      writeSet: [journal],
      endEntry: 0,
      maxTimestamp: 5,
      bytes: 10,
      chainCrc: 1,
    }));
    return codeOf(state, {
      kind: 'swapSegments',
      shard: shard.id,
      epoch: shard.ownerEpoch,
      removed: removed.map((segment) => segment.id),
      added,
    });
  }

  test.each<[string, [number, number][], string]>([
    ['one for all', [[0, 30]], 'ok'],
    [
      'two with another border',
      [
        [0, 7],
        [7, 30],
      ],
      'ok',
    ],
    ['nothing', [], 'METADATA_CONFLICT'],
    ['a part', [[0, 29]], 'METADATA_CONFLICT'],
    ['more', [[0, 31]], 'METADATA_CONFLICT'],
    [
      'a gap',
      [
        [0, 7],
        [8, 30],
      ],
      'METADATA_CONFLICT',
    ],
    [
      'an overlap',
      [
        [0, 9],
        [8, 30],
      ],
      'METADATA_CONFLICT',
    ],
    [
      'an empty one more',
      [
        [0, 30],
        [30, 30],
      ],
      'METADATA_CONFLICT',
    ],
  ])('three segments replaced by %s', (_name, ends, code) => {
    const shard = filled(10, 20, 30);
    expect(swap(shard, 0, ends)).toBe(code);
    expect(current(shard).segments.length).toBe(code === 'ok' ? ends.length + 1 : 4);
  });

  test('segments of two epochs are not merged, nor is one given the epoch of the other', () => {
    let shard = filled(10);
    accept(state, startBroker());
    accept(state, roll(current(shard), 20));
    accept(state, roll(current(shard), 30));
    shard = current(shard);
    expect(shard.segments.map((segment) => segment.writerEpoch)).toEqual([1, 1, 2, 2]);
    expect(swap(shard, 0, [[0, 30]])).toBe('METADATA_CONFLICT');
    expect(swap(shard, 2, [[20, 30]], 1)).toBe('METADATA_CONFLICT');
    expect(swap(shard, 2, [[20, 30]], 2)).toBe('ok');
  });

  test('only sealed neighbours are replaced', () => {
    const shard = filled(10, 20);
    const ids = shard.segments.map((segment) => segment.id);
    const base = { kind: 'swapSegments', shard: shard.id, epoch: shard.ownerEpoch, added: [] } as const;
    for (const removed of [[], [ids[0]!, ids[2]!], [ids[1]!, ids[0]!], [ids[2]!], [77 as SegmentId]]) {
      expect(codeOf(state, { ...base, removed })).toBe('METADATA_CONFLICT');
    }
  });

  test('an empty segment may vanish', () => {
    const shard = filled(0, 10);
    const removed = [shard.segments[0]!.id];
    const { id, ownerEpoch: epoch } = shard;
    expect(codeOf(state, { kind: 'swapSegments', shard: id, epoch, removed, added: [] })).toBe('ok');
    expect(current(shard).segments.map((segment) => segment.baseOffset)).toEqual([0, 10]);
  });

  test.each([
    ['an id in use', (shard: StoredShard) => ({ id: shard.segments.at(-1)!.id })],
    ['an id never allocated', () => ({ id: 999 as SegmentId })],
    ['no journal', () => ({ writeSet: [] })],
    ['an unknown journal', () => ({ writeSet: ['d'.repeat(32) as JournalUuid] })],
  ])('a new segment with %s is refused', (_name, wrong) => {
    const shard = filled(10);
    const { seq: _seq, state: _state, ...like } = shard.segments[0]!;
    const { firstId } = accept(state, { kind: 'allocateSegments', count: 1 });
    const added = [{ ...like, id: firstId as SegmentId, ...wrong(shard) }];
    const { id, ownerEpoch: epoch } = shard;
    const removed = [like.id];
    expect(codeOf(state, { kind: 'swapSegments', shard: id, epoch, removed, added })).toBe(
      'METADATA_CONFLICT',
    );
  });
});

describe('nodes', () => {
  test('a journal keeps its node and its boot counter never goes back', () => {
    expect(codeOf(state, registerJournal(journal, 1))).toBe('ok');
    expect(codeOf(state, registerJournal(journal, 5))).toBe('ok');
    expect(codeOf(state, registerJournal(journal, 4))).toBe('JOURNAL_INCARNATION');
    expect(codeOf(state, registerJournal(journal, 6, 2 as NodeId))).toBe('JOURNAL_INCARNATION');
    expect(codeOf(state, registerJournal('XY' as JournalUuid))).toBe('METADATA_CONFLICT');
  });

  test('a disk that comes back is up again and the one in between lost', () => {
    const other = 'b'.repeat(32) as JournalUuid;
    accept(state, registerJournal(other, 1));
    expect(state.journals.get(journal)!.state).toBe('lost');
    accept(state, registerJournal(journal, 2));
    expect(state.journals.get(journal)!.state).toBe('up');
    expect(state.journals.get(other)!.state).toBe('lost');
  });

  test.each([0, 10_001, 1.5])('a block of %d segment ids is refused', (count) => {
    expect(codeOf(state, { kind: 'allocateSegments', count })).toBe('METADATA_CONFLICT');
  });

  test('a node id is a small integer', () => {
    expect(codeOf(state, startBroker(-1 as NodeId))).toBe('METADATA_CONFLICT');
    expect(codeOf(state, startBroker((2 ** 31) as NodeId))).toBe('METADATA_CONFLICT');
    expect(codeOf(state, registerJournal(journal, 9, -1 as NodeId))).toBe('METADATA_CONFLICT');
    expect(state.brokers.size).toBe(1);
    expect(node).toBe(1);
  });
});

describe('replicas', () => {
  const dice: fc.Arbitrary<Dice> = fc.tuple(
    fc.nat(diceKinds),
    ...Array.from({ length: 5 }, () => fc.nat(999)),
  ) as never;
  const game = fc.array(dice, { minLength: 20, maxLength: 120, size: 'max' });

  function copyOf(original: MetadataState): MetadataState {
    return MetadataState.load(stateOptions, original.index, original.pairs());
  }

  function throughCodec(command: MetadataCommand): MetadataCommand {
    const writer = new CheckedWriter();
    encodeCommand(writer, command);
    return decodeCommand(writer.view());
  }

  test('replication 2.10 I16: equal commands make equal states, results and hashes, also after a snapshot', () => {
    const accepted = new Map<string, number>();
    fc.assert(
      fc.property(game, fc.nat(100), (throws, reloadAt) => {
        const first = new MetadataState(stateOptions);
        let second = new MetadataState(stateOptions);
        run(first, registerJournal(), startBroker());
        run(second, registerJournal(), startBroker());
        throws.forEach((dices, at) => {
          const command = commandFrom(first, dices);
          if (at === reloadAt) second = copyOf(second);
          let sent: MetadataCommand;
          try {
            sent = throughCodec(command);
          } catch (error) {
            expect(error).toMatchObject({ code: 'METADATA_CONFLICT' });
            return;
          }
          expect(sent).toEqual(command);
          const one = first.apply(first.index + 1, command);
          const two = second.apply(second.index + 1, sent);
          expect(two).toEqual(one);
          if (!(one.result instanceof RobustError)) {
            accepted.set(command.kind, (accepted.get(command.kind) ?? 0) + 1);
          }
        });
        expect(second.hash).toBe(first.hash);
        expect(second.image).toEqual(first.image);
        const full = new ContentHash();
        for (const [key, value] of first.pairs()) full.add(key, value);
        expect([full.digest(), full.count]).toEqual([first.hash, first.pairCount]);
        expect(copyOf(first).image).toEqual(first.image);
      }),
      { numRuns: 100 },
    );
    // A game in which a kind is never accepted would prove nothing about it.
    expect(accepted.size).toBe(13);
  });

  test('a refused command leaves no trace but its index', () => {
    fc.assert(
      fc.property(game, (throws) => {
        const played = new MetadataState(stateOptions);
        run(played, registerJournal(), startBroker());
        for (const dices of throws) {
          const before = played.hash;
          const { result, changes, pairs } = played.apply(played.index + 1, commandFrom(played, dices));
          if (!(result instanceof RobustError)) continue;
          expect([changes, pairs, played.hash]).toEqual([[], [], before]);
        }
      }),
      { numRuns: 50 },
    );
  });

  test('the pairs of every transition turn the stored state into the next', () => {
    fc.assert(
      fc.property(game, (throws) => {
        const played = new MetadataState(stateOptions);
        const stored = new Map<string, Uint8Array>(played.pairs());
        const apply = (command: MetadataCommand): void => {
          for (const [key, value] of played.apply(played.index + 1, command).pairs) {
            if (value === null) stored.delete(key);
            else stored.set(key, value);
          }
        };
        apply(registerJournal());
        apply(startBroker());
        for (const dices of throws) apply(commandFrom(played, dices));
        const loaded = MetadataState.load(stateOptions, played.index, stored);
        expect([loaded.hash, loaded.pairCount]).toEqual([played.hash, played.pairCount]);
        expect(loaded.image).toEqual(played.image);
      }),
      { numRuns: 50 },
    );
  });
});
