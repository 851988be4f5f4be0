import assert from 'node:assert/strict';
import { RobustError } from '@robustmq/core';
import type { Epoch, JournalUuid, NodeId, SegmentId, ShardId, TopicId } from '@robustmq/core';
import type {
  Metadata,
  MetadataCommand,
  MetadataResult,
  MetadataUpdate,
  SealedSegment,
  ShardRecord,
  TopicRecord,
} from '../ports/metadata.ts';
import { topicKey } from '../ports/metadata.ts';

/** What the suite needs of a test runner. */
export interface ConformanceTestApi {
  describe(name: string, body: () => void): void;
  test(name: string, body: () => Promise<void>): void;
}

/** One metadata under test: new and empty, with `defaultTopic` as its default topic. */
export interface MetadataSubject {
  readonly metadata: Metadata;
  close(): Promise<void>;
}

export type MakeMetadata = (options: { readonly defaultTopic: string }) => Promise<MetadataSubject>;

/** The promises of `Metadata` that every implementation keeps; each test runs on a subject of its own. */
export function metadataConformance(api: ConformanceTestApi, make: MakeMetadata): void {
  const withNode = (body: (node: Node) => Promise<void>) => async (): Promise<void> => {
    const subject = await make({ defaultTopic });
    try {
      await body(await Node.start(subject.metadata));
    } finally {
      await subject.close();
    }
  };
  api.describe('Metadata', () => {
    proposing(api, withNode);
    watching(api, withNode);
    topics(api, withNode);
    segments(api, withNode);
    nodes(api, withNode);
  });
}

type WithNode = (body: (node: Node) => Promise<void>) => () => Promise<void>;

function proposing({ test }: ConformanceTestApi, withNode: WithNode): void {
  test(
    'the image shows a command when its proposal resolves',
    withNode(async (node) => {
      const { image } = node.metadata;
      const before = image.revision;
      const result = await node.accepted(create('events'));
      assert.ok(result.revision > before && image.revision >= result.revision);
      assert.deepEqual(image.topicsByName.get(topicKey('default', 'events')), result.topic);
      assert.deepEqual(image.topics.get(result.topic!.id), result.topic);
      assert.equal(result.topic!.createdRevision, result.revision);
    }),
  );
  test(
    'an empty proposal resolves to nothing',
    withNode(async (node) => assert.deepEqual(await node.metadata.propose([]), [])),
  );
  test(
    'a refused command stands in its place and the others apply',
    withNode(async (node) => {
      const taken = { ...create('a'), id: 'f'.repeat(32) as TopicId };
      const commands = [create('a'), create('..'), create('b'), taken];
      const results = await node.metadata.propose(commands);
      assert.deepEqual(results.map(codeOf), ['ok', 'TOPIC_NAME_INVALID', 'ok', 'TOPIC_EXISTS']);
      assert.equal(node.metadata.image.topics.size, 2);
    }),
  );
  test(
    'a number that no field can hold is refused, not stored as another',
    withNode(async (node) => {
      const shard = await node.shard('events');
      for (const limit of [Number.NaN, 1.5, 2 ** 60]) {
        const command = {
          kind: 'raiseOffsetLimit',
          shard: shard.id,
          epoch: shard.ownerEpoch,
          limit,
        } as const;
        assert.equal(await node.refused(command), 'METADATA_CONFLICT');
      }
      assert.equal(node.current(shard).offsetLimit, 0);
    }),
  );
  test(
    'proposals apply in the order of their calls',
    withNode(async (node) => {
      const calls = Array.from({ length: 20 }, () => node.accepted({ kind: 'allocateSegments', count: 3 }));
      const first = (await Promise.all(calls)).map((result) => result.firstId!);
      for (let at = 1; at < first.length; at++) assert.equal(first[at], first[at - 1]! + 3);
    }),
  );
  test(
    'what the caller changes after the call is not seen',
    withNode(async (node) => {
      const config = new Map([['retention.ms', '1000']]);
      const pending = node.accepted(create('events', { config }));
      config.set('retention.ms', '2000');
      const { topic } = await pending;
      config.set('retention.ms', '3000');
      assert.deepEqual(topic!.config, new Map([['retention.ms', '1000']]));
      assert.deepEqual(node.metadata.image.topics.get(topic!.id)!.config, topic!.config);
    }),
  );
}

function watching({ test }: ConformanceTestApi, withNode: WithNode): void {
  test(
    'a watch sees every later change in order, after the image shows it',
    withNode(async (node) => {
      const { image } = node.metadata;
      await node.accepted(create('before'));
      const seen: MetadataUpdate[] = [];
      node.metadata.watch((update) => {
        assert.ok(image.revision >= update.revision);
        for (const change of update.changes) {
          if (change.kind === 'topic') assert.ok(image.topics.has(change.topic.id));
        }
        seen.push(update);
      });
      await node.metadata.propose([create('a'), create('..'), create('b')]);
      await node.accepted({ kind: 'deleteTopic', topic: topicIdOf('a') });
      const names = seen.flatMap((update) =>
        update.changes.flatMap((change) =>
          change.kind === 'topic' || change.kind === 'topicDeleted'
            ? [`${change.kind} ${change.topic.name}`]
            : [],
        ),
      );
      assert.deepEqual(names, ['topic a', 'topic b', 'topicDeleted a']);
      for (let at = 1; at < seen.length; at++) assert.ok(seen[at]!.revision > seen[at - 1]!.revision);
    }),
  );
  test(
    'an ended watch is not called, and a failing one hurts nobody',
    withNode(async (node) => {
      let ended = 0;
      let others = 0;
      const end = node.metadata.watch(() => ended++);
      node.metadata.watch(() => {
        throw new Error('a listener that fails');
      });
      node.metadata.watch(() => others++);
      await node.accepted(create('a'));
      end();
      end();
      await node.accepted(create('b'));
      assert.deepEqual({ ended, others }, { ended: 1, others: 2 });
    }),
  );
  test(
    'a listener may propose',
    withNode(async (node) => {
      const followed: Promise<MetadataResult>[] = [];
      const end = node.metadata.watch(() => {
        end();
        followed.push(node.accepted(create('second')));
      });
      await node.accepted(create('first'));
      assert.equal(followed.length, 1);
      assert.equal((await followed[0])!.topic!.name, 'second');
    }),
  );
  test(
    'nothing is told of what changed nothing',
    withNode(async (node) => {
      const shard = await node.shard('events');
      let updates = 0;
      node.metadata.watch(() => updates++);
      await node.accepted({ kind: 'trimShard', shard: shard.id, startOffset: 0 });
      assert.equal(await node.refused(create('..')), 'TOPIC_NAME_INVALID');
      assert.equal(updates, 0);
    }),
  );
}

function topics({ test }: ConformanceTestApi, withNode: WithNode): void {
  test(
    'a topic has its shards with epoch 1, owned and in index order',
    withNode(async (node) => {
      const topic = await node.topic('events', 3);
      const shards = topic.shards.map((id) => node.metadata.image.shards.get(id)!);
      assert.deepEqual(
        shards.map(({ index, owner, ownerEpoch, startOffset, segments: list }) => ({
          index,
          owner,
          ownerEpoch,
          startOffset,
          list,
        })),
        [0, 1, 2].map((index) => ({ index, owner: nodeId, ownerEpoch: 1, startOffset: 0, list: [] })),
      );
    }),
  );
  test(
    'the same creation sent again answers the topic it made',
    withNode(async (node) => {
      const first = await node.accepted(create('events'));
      const again = await node.accepted(create('events'));
      assert.deepEqual(again.topic, first.topic);
      assert.equal(node.metadata.image.shards.size, 1);
    }),
  );
  test(
    'a deleted topic takes its shards along and its name is free for another id',
    withNode(async (node) => {
      const topic = await node.topic('events', 2);
      await node.accepted({ kind: 'deleteTopic', topic: topic.id });
      assert.equal(node.metadata.image.shards.size, 0);
      assert.equal(await node.refused({ kind: 'deleteTopic', topic: topic.id }), 'TOPIC_NOT_FOUND');
      const id = 'f'.repeat(32) as TopicId;
      const again = await node.accepted({ ...create('events'), id });
      assert.ok(!topic.shards.includes(again.topic!.shards[0]!));
    }),
  );
  test(
    'shards are added up to a new total, never taken away',
    withNode(async (node) => {
      const topic = await node.topic('events', 2);
      const grown = (await node.accepted({ kind: 'addShards', topic: topic.id, shards: 4 })).topic!;
      assert.deepEqual(grown.shards.slice(0, 2), topic.shards);
      assert.equal(grown.shards.length, 4);
      for (const shards of [4, 3, 0]) {
        const refused = await node.refused({ kind: 'addShards', topic: topic.id, shards });
        assert.equal(refused, 'SHARD_COUNT_INVALID');
      }
    }),
  );
  test(
    'semantics 1.6: the default topic and bound topics keep their shards and all their records',
    withNode(async (node) => {
      const standard = await node.topic(defaultTopic, 2);
      const bound = (await node.accepted(create('bound', { config: new Map([['subject.bind', 'true']]) })))
        .topic!;
      for (const topic of [standard, bound]) {
        const grow = await node.refused({ kind: 'addShards', topic: topic.id, shards: 9 });
        assert.equal(grow, 'SHARD_COUNT_INVALID');
        const changes = new Map([['cleanup.policy', 'compact']]);
        const compact = await node.refused({ kind: 'configureTopic', topic: topic.id, changes });
        assert.equal(compact, 'TOPIC_POLICY');
      }
      assert.equal(await node.refused({ kind: 'deleteTopic', topic: standard.id }), 'TOPIC_POLICY');
    }),
  );
  test(
    'configuration is checked, and a fixed key changes only while the topic is empty',
    withNode(async (node) => {
      const shard = await node.shard('events');
      const configure = (key: string, value: string | null): MetadataCommand => ({
        kind: 'configureTopic',
        topic: shard.topic,
        changes: new Map([[key, value]]),
      });
      assert.equal(await node.refused(configure('retention.ms', 'soon')), 'TOPIC_CONFIG_INVALID');
      assert.equal(await node.refused(configure('no.such.key', '1')), 'TOPIC_CONFIG_INVALID');
      await node.accepted(configure('subject.bind', 'true'));
      await node.roll(shard, null);
      assert.equal(await node.refused(configure('subject.bind', null)), 'TOPIC_CONFIG_INVALID');
      const { topic } = await node.accepted(configure('retention.ms', '5000'));
      assert.equal(topic!.config.get('retention.ms'), '5000');
      assert.equal(topic!.config.get('subject.bind'), 'true');
    }),
  );
}

function segments({ test }: ConformanceTestApi, withNode: WithNode): void {
  test(
    'a roll seals the open segment and opens the next at its end',
    withNode(async (node) => {
      const shard = await node.shard('events');
      const first = (await node.roll(shard, null)).segments.at(-1)!;
      assert.deepEqual(
        { base: first.baseOffset, state: first.state, epoch: first.writerEpoch, writeSet: first.writeSet },
        { base: 0, state: 'open', epoch: shard.ownerEpoch, writeSet: [journalUuid] },
      );
      const end = seal(first.id, 100);
      const rolled = await node.roll(shard, end);
      const { segment: _id, ...sealedEnd } = end;
      assert.deepEqual(rolled.segments[0], { ...first, ...sealedEnd, state: 'sealed' });
      assert.deepEqual([rolled.segments[1]!.baseOffset, rolled.segments[1]!.state], [100, 'open']);
      assert.ok(rolled.segments[1]!.id > first.id);
    }),
  );
  test(
    'a roll under another epoch or of another segment is refused, also the same one again',
    withNode(async (node) => {
      const shard = await node.shard('events');
      const first = (await node.roll(shard, null)).segments.at(-1)!;
      const roll = { kind: 'rollSegment', shard: shard.id, hole: null, open: true } as const;
      const epoch = (shard.ownerEpoch + 1) as Epoch;
      assert.equal(await node.refused({ ...roll, epoch, sealed: seal(first.id, 10) }), 'SHARD_FENCED');
      const own = { ...roll, epoch: shard.ownerEpoch };
      assert.equal(await node.refused({ ...own, sealed: null }), 'METADATA_CONFLICT');
      await node.accepted({ ...own, sealed: seal(first.id, 10) });
      assert.equal(await node.refused({ ...own, sealed: seal(first.id, 10) }), 'METADATA_CONFLICT');
      const nowhere = { ...own, shard: 9999 as ShardId, sealed: null };
      assert.equal(await node.refused(nowhere), 'SHARD_NOT_FOUND');
    }),
  );
  test(
    'a hole after the sealed end moves the next base, and a lost one waits for acceptance',
    withNode(async (node) => {
      const shard = await node.shard('events');
      const first = (await node.roll(shard, null)).segments.at(-1)!;
      const hole = { from: 10, to: 50, kind: 'lost' } as const;
      const { id, ownerEpoch: epoch } = shard;
      await node.accepted({
        kind: 'rollSegment',
        shard: id,
        epoch,
        sealed: seal(first.id, 10),
        hole,
        open: true,
      });
      const after = node.current(shard);
      assert.deepEqual(after.holes, [hole]);
      assert.equal(after.segments[1]!.baseOffset, 50);
      assert.equal(after.lossAccepted, false);
      assert.equal((await node.accepted({ kind: 'acceptLoss', shard: id })).shard!.lossAccepted, true);
    }),
  );
  test(
    'trimming moves the start up only and drops segments wholly below it',
    withNode(async (node) => {
      const shard = await node.filled('events', [10, 20, 30]);
      const trim = async (startOffset: number): Promise<ShardRecord> =>
        (await node.accepted({ kind: 'trimShard', shard: shard.id, startOffset })).shard!;
      const trimmed = await trim(15);
      assert.deepEqual([trimmed.startOffset, trimmed.segments[0]!.baseOffset], [15, 10]);
      assert.equal((await trim(3)).startOffset, 15);
      assert.deepEqual(
        (await trim(30)).segments.map((segment) => segment.state),
        ['open'],
      );
    }),
  );
  test(
    'a start above the end of a log without an open segment is refused',
    withNode(async (node) => {
      const shard = await node.shard('events');
      const trim = { kind: 'trimShard', shard: shard.id, startOffset: 1 } as const;
      assert.equal(await node.refused(trim), 'OFFSET_OUT_OF_RANGE');
    }),
  );
  test(
    'compacted segments replace a run over exactly its offsets',
    withNode(async (node) => {
      const shard = await node.filled('events', [10, 20, 30]);
      const removed = shard.segments.slice(0, 2).map((segment) => segment.id);
      const { firstId } = await node.accepted({ kind: 'allocateSegments', count: 2 });
      const { id: _id, seq: _seq, state: _state, ...like } = shard.segments[0]!;
      const added = { ...like, id: firstId as SegmentId, baseOffset: 0, endOffset: 20, bytes: 5 };
      const swap = { kind: 'swapSegments', shard: shard.id, epoch: shard.ownerEpoch, removed } as const;
      const short = { ...swap, added: [{ ...added, endOffset: 19 }] };
      assert.equal(await node.refused(short), 'METADATA_CONFLICT');
      const foreign = { ...swap, added: [{ ...added, id: 987_654 as SegmentId }] };
      assert.equal(await node.refused(foreign), 'METADATA_CONFLICT');
      const after = (await node.accepted({ ...swap, added: [added] })).shard!;
      assert.deepEqual(
        after.segments.map((segment) => [segment.baseOffset, segment.state]),
        [
          [0, 'sealed'],
          [20, 'sealed'],
          [30, 'open'],
        ],
      );
      assert.equal(await node.refused({ ...swap, added: [added] }), 'METADATA_CONFLICT');
    }),
  );
}

function nodes({ test }: ConformanceTestApi, withNode: WithNode): void {
  test(
    'a start raises every epoch by one and fences what was before',
    withNode(async (node) => {
      const shard = await node.shard('events');
      const incarnation = node.metadata.image.brokers.get(nodeId)!.incarnation;
      await node.accepted(startBroker);
      assert.equal(node.current(shard).ownerEpoch, shard.ownerEpoch + 1);
      assert.equal(node.metadata.image.brokers.get(nodeId)!.incarnation, incarnation + 1);
      const limit = { kind: 'raiseOffsetLimit', shard: shard.id, epoch: shard.ownerEpoch, limit: 5 } as const;
      assert.equal(await node.refused(limit), 'SHARD_FENCED');
      const now = { ...limit, epoch: node.current(shard).ownerEpoch };
      assert.equal((await node.accepted(now)).shard!.offsetLimit, 5);
      assert.equal((await node.accepted({ ...now, limit: 4 })).shard!.offsetLimit, 5);
    }),
  );
  test(
    'an older copy of a journal is refused and a new disk makes the old one lost',
    withNode(async (node) => {
      const older = {
        kind: 'registerJournal',
        journal: { nodeId, uuid: journalUuid, bootCounter: 0 },
      } as const;
      assert.equal(await node.refused(older), 'JOURNAL_INCARNATION');
      const uuid = 'b'.repeat(32) as JournalUuid;
      await node.accepted({ kind: 'registerJournal', journal: { nodeId, uuid, bootCounter: 1 } });
      assert.equal(node.metadata.image.journals.get(journalUuid)!.state, 'lost');
      const shard = await node.shard('events');
      assert.deepEqual((await node.roll(shard, null)).segments[0]!.writeSet, [uuid]);
    }),
  );
  test(
    'blocks of ids never overlap',
    withNode(async (node) => {
      const producers: MetadataCommand = { kind: 'allocateProducerIds' };
      const first = (await node.accepted(producers)).firstId!;
      assert.ok((await node.accepted(producers)).firstId! >= first + 1000);
      const block = (await node.accepted({ kind: 'allocateSegments', count: 10 })).firstId!;
      const shard = await node.shard('events');
      assert.ok((await node.roll(shard, null)).segments[0]!.id >= block + 10);
    }),
  );
}

const defaultTopic = 'main';
const nodeId = 1 as NodeId;
const journalUuid = 'a'.repeat(32) as JournalUuid;
const startBroker: MetadataCommand = {
  kind: 'startBroker',
  broker: nodeId,
  addresses: new Map([['client', '127.0.0.1:1']]),
  takeAll: true,
};

/** A metadata with one journal and one broker. */
class Node {
  readonly metadata: Metadata;

  constructor(metadata: Metadata) {
    this.metadata = metadata;
  }

  static async start(metadata: Metadata): Promise<Node> {
    const node = new Node(metadata);
    await node.accepted({ kind: 'registerJournal', journal: { nodeId, uuid: journalUuid, bootCounter: 1 } });
    await node.accepted(startBroker);
    return node;
  }

  async accepted(command: MetadataCommand): Promise<MetadataResult> {
    const [result] = await this.metadata.propose([command]);
    if (result instanceof Error) throw result;
    assert.ok(result !== undefined);
    return result;
  }

  async refused(command: MetadataCommand): Promise<string> {
    const [result] = await this.metadata.propose([command]);
    return codeOf(result);
  }

  async topic(name: string, shards = 1): Promise<TopicRecord> {
    return (await this.accepted(create(name, { shards }))).topic!;
  }

  /** The only shard of a new topic. */
  async shard(name: string): Promise<ShardRecord> {
    const topic = await this.topic(name);
    return this.metadata.image.shards.get(topic.shards[0]!)!;
  }

  current(shard: ShardRecord): ShardRecord {
    return this.metadata.image.shards.get(shard.id)!;
  }

  async roll(shard: ShardRecord, sealed: SealedSegment | null): Promise<ShardRecord> {
    const { id, ownerEpoch: epoch } = this.current(shard);
    const roll = { kind: 'rollSegment', shard: id, epoch, sealed, hole: null, open: true } as const;
    return (await this.accepted(roll)).shard!;
  }

  /** A shard whose sealed segments end at these offsets, with an open one behind them. */
  async filled(name: string, ends: readonly number[]): Promise<ShardRecord> {
    let shard = await this.roll(await this.shard(name), null);
    for (const end of ends) shard = await this.roll(shard, seal(shard.segments.at(-1)!.id, end));
    return shard;
  }
}

function create(
  name: string,
  options: { shards?: number; config?: ReadonlyMap<string, string> } = {},
): MetadataCommand & { kind: 'createTopic' } {
  return {
    kind: 'createTopic',
    tenant: 'default',
    name,
    id: topicIdOf(name),
    shards: options.shards ?? 1,
    internal: false,
    config: options.config ?? new Map(),
  };
}

function topicIdOf(name: string): TopicId {
  return Buffer.from(name).toString('hex').padEnd(32, '0').slice(0, 32) as TopicId;
}

function seal(segment: SegmentId, endOffset: number): SealedSegment {
  return { segment, endEntry: 3, endOffset, maxTimestamp: 1_700_000_000_000, bytes: 4096, chainCrc: 7 };
}

function codeOf(result: MetadataResult | Error | undefined): string {
  if (!(result instanceof Error)) return result === undefined ? 'missing' : 'ok';
  assert.ok(result instanceof RobustError, `not a RobustError: ${String(result)}`);
  return result.code;
}
