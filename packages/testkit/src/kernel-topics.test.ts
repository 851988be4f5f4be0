import type { Kernel, Shard } from '@robustmq/kernel';
import { parseTopicConfig, topicConfigKeys } from '@robustmq/kernel';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { append, brokerBatch, createShard, publishThrough, recordOf } from './kernel-fixture.ts';
import type { MemoryStorage } from './memory-kernel.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';

let storage: MemoryStorage;
let kernel: Kernel;

beforeEach(async () => {
  storage = await createMemoryStorage();
  kernel = await startKernel(storage);
});

afterEach(() => storage.journal.crash());

const bound = new Map([['subject.bind', 'true']]);

function codeOf(task: Promise<unknown>): Promise<string> {
  return task.then(
    () => 'accepted',
    (error: { code: string }) => error.code,
  );
}

function create(name: string, shards = 1, config: Record<string, string> = {}): Promise<string> {
  return codeOf(kernel.topics.create(name, shards, new Map(Object.entries(config))));
}

function retainedUnder(filter: string, shards: readonly Shard[]): string[] {
  return [...kernel.subscriptions.retained(filter, shards)].map(({ subject }) => subject).sort();
}

describe('creation', () => {
  it.each(['', '.', '..', 'a/b', 'a b', 'ä', 'a'.repeat(250)])('refuses the name %j', async (name) => {
    expect(await create(name)).toBe('TOPIC_NAME_INVALID');
  });

  it.each(['a', 'A.b_c-1', 'a'.repeat(249)])('takes the name %j', async (name) => {
    expect(await create(name)).toBe('accepted');
    expect(kernel.topics.byName(name)?.shards.length).toBe(1);
  });

  it('keeps names that begin with __ for the system, and shows none of its topics', async () => {
    expect(await create('__sessions')).toBe('TOPIC_POLICY');
    await kernel.topics.ensureInternal('__state', 2);
    expect(kernel.topics.byName('__state')).toBe(undefined);
    expect(kernel.topics.list().map(({ name }) => name)).toEqual(['mqtt']);
  });

  it.each([0, -1, 1.5, 10_001])('refuses %d shards', async (shards) => {
    expect(await create('a', shards)).toBe('SHARD_COUNT_INVALID');
  });

  it('refuses a name that exists, and more shards than a tenant may have', async () => {
    expect(await create('a', 10_000)).toBe('accepted');
    expect(await create('a')).toBe('TOPIC_EXISTS');
    expect(await create('b', 10_000)).toBe('TOPIC_LIMIT');
  });
});

describe('creation by use', () => {
  it('concurrent callers share one creation, also with an explicit one', async () => {
    const explicit = kernel.topics.create('both', 2);
    const [first, second, both] = await Promise.all([
      kernel.topics.ensure('a'),
      kernel.topics.ensure('a'),
      // Regression: failed with TOPIC_EXISTS.
      kernel.topics.ensure('both'),
    ]);
    expect(first).toBe(second);
    expect(first.shards.length).toBe(4);
    expect(both.id).toBe((await explicit).id);
  });

  it('never binds a topic: it takes no publishes away from the default topic', async () => {
    const topic = await kernel.topics.ensure('sensors');
    expect(kernel.topics.isBound(topic)).toBe(false);
    expect(kernel.subjects.forPublish('sensors/1').topic.name).toBe('mqtt');
  });

  it('ends at its bound, also for many at once', async () => {
    storage.journal.crash();
    const { options } = kernel.topics;
    kernel = await startKernel(storage, { options: { topics: { ...options, autoCreateMax: 10 } } });
    // Regression: what was being created did not count.
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, at) => codeOf(kernel.topics.ensure(`t${at}`))),
    );
    expect(answers.filter((answer) => answer === 'accepted').length).toBe(10);
    expect(answers.filter((answer) => answer === 'TOPIC_POLICY').length).toBe(20);
    expect(await codeOf(kernel.topics.ensure('t0'))).toBe('accepted');
  });

  it('semantics 8.1: counts what came about by use, not what was created, nor what was taken over', async () => {
    storage.journal.crash();
    const { options } = kernel.topics;
    kernel = await startKernel(storage, { options: { topics: { ...options, autoCreateMax: 2 } } });
    for (const name of ['a', 'b', 'c']) await kernel.topics.create(name, 1);
    const used = await kernel.topics.ensure('t0');
    expect(await codeOf(kernel.topics.ensure('t1'))).toBe('accepted');
    expect(await codeOf(kernel.topics.ensure('t2'))).toBe('TOPIC_POLICY');
    await kernel.topics.configure(used, new Map([['auto.created', 'false']]));
    expect(await codeOf(kernel.topics.ensure('t2'))).toBe('accepted');
    expect(await codeOf(kernel.topics.ensure('t3'))).toBe('TOPIC_POLICY');
  });
});

describe('semantics 1.6: shards that stay', () => {
  it('an ordinary topic grows, a bound one and the default topic do not', async () => {
    const plain = await kernel.topics.create('plain', 1);
    await kernel.topics.grow(plain, 3);
    expect(kernel.topics.byName('plain')!.shards.length).toBe(3);
    expect(await codeOf(kernel.topics.grow(kernel.topics.byName('plain')!, 2))).toBe('SHARD_COUNT_INVALID');
    expect(await codeOf(kernel.topics.grow(await kernel.topics.create('b', 1, bound), 3))).toBe(
      'SHARD_COUNT_INVALID',
    );
    expect(await codeOf(kernel.topics.grow(kernel.topics.defaultTopic, 32))).toBe('SHARD_COUNT_INVALID');
  });

  it('the default topic is not deleted, and not bound', async () => {
    expect(await codeOf(kernel.topics.delete(kernel.topics.defaultTopic))).toBe('TOPIC_POLICY');
    expect(await codeOf(kernel.topics.configure(kernel.topics.defaultTopic, bound))).toBe('TOPIC_POLICY');
  });
});

describe('semantics 1.3: a topic is bound while it is empty', () => {
  it('at creation: publishes go to it and are retained beside it', async () => {
    await kernel.topics.create('dev', 1, bound);
    await publishThrough(kernel, 'dev/a', 'x', { retain: true });
    const shards = await kernel.subscriptions.prepare(['dev/#']);
    expect(retainedUnder('dev/#', shards)).toEqual(['dev/a']);
  });

  it('regression: one that was open already retained nothing until the next start', async () => {
    const topic = await kernel.topics.create('dev', 1);
    // Somebody looks at the topic, so its shard is open.
    await kernel.openShard(topic.shards[0]!);
    await kernel.topics.configure(topic, bound);
    expect(kernel.subjects.forPublish('dev/a').topic.name).toBe('dev');
    await publishThrough(kernel, 'dev/a', 'x', { retain: true });
    const shards = await kernel.subscriptions.prepare(['dev/#']);
    expect(retainedUnder('dev/#', shards)).toEqual(['dev/a']);
  });

  it('regression: bound, released and bound again was refused, though it was done', async () => {
    const topic = await kernel.topics.create('dev', 1, bound);
    await kernel.topics.configure(topic, new Map([['subject.bind', null]]));
    expect(kernel.topics.isBound(kernel.topics.byName('dev')!)).toBe(false);
    expect(await codeOf(kernel.topics.configure(kernel.topics.byName('dev')!, bound))).toBe('accepted');
    await publishThrough(kernel, 'dev/a', 'x', { retain: true });
    expect(retainedUnder('dev/#', await kernel.subscriptions.prepare(['dev/#']))).toEqual(['dev/a']);
  });

  it('one with records is not, and no trace of the attempt is left', async () => {
    const shard = await createShard(kernel, 'dev');
    await append(shard, brokerBatch(['x']));
    const topics = storage.metadata.image.topics.size;
    expect(await codeOf(kernel.topics.configure(shard.topic, bound))).toBe('TOPIC_CONFIG_INVALID');
    expect(storage.metadata.image.topics.size).toBe(topics);
  });

  it('the copies beside it go with the topic', async () => {
    const topics = storage.metadata.image.topics.size;
    const topic = await kernel.topics.create('dev', 1, bound);
    await publishThrough(kernel, 'dev/a', 'x', { retain: true });
    expect(storage.metadata.image.topics.size).toBe(topics + 2);
    await kernel.topics.delete(topic);
    expect(storage.metadata.image.topics.size).toBe(topics);
  });
});

describe('configuration: what is accepted is enforced', () => {
  /** Every key, and the value by which another test of this file or the ones it names shows its effect. */
  const shown: Record<string, string> = {
    'retention.ms': 'kernel-log: rolls a segment whose newest record is too old',
    'retention.bytes': 'here',
    'segment.bytes': 'kernel-log: by size',
    'segment.ms': 'kernel-log: by age',
    'max.message.bytes': 'kernel-publish: BATCH_TOO_LARGE',
    'cleanup.policy': 'here',
    'message.timestamp.type': 'kafka-timestamps',
    'message.timestamp.after.max.ms': 'kafka-timestamps',
    'subject.bind': 'here',
    'subject.wildcard': 'here',
    capture: 'kernel-publish: capture',
    storage: 'kernel-recovery: storage=memory',
    flush: 'kernel-log: flush=always waits for the disk',
    'flush.interval.ms': 'here',
    'auto.created': 'here',
  };

  it('every key has a test that shows its effect', () => {
    expect(topicConfigKeys.map(({ name }) => name).sort()).toEqual(Object.keys(shown).sort());
  });

  it.each([
    ['retention.ms', '-2'],
    ['retention.ms', 'week'],
    ['retention.bytes', '1e3'],
    ['segment.bytes', '1048575'],
    ['segment.ms', '999'],
    ['max.message.bytes', '1900001'],
    ['max.message.bytes', '9007199254740993'],
    ['cleanup.policy', ''],
    ['cleanup.policy', 'delete,forget'],
    ['cleanup.policy', 'compact'],
    ['cleanup.policy', 'delete, compact'],
    ['message.timestamp.type', 'LogTime'],
    ['message.timestamp.after.max.ms', '-1'],
    ['subject.bind', 'yes'],
    ['subject.wildcard', '1'],
    ['capture', 'qos2'],
    ['storage', 'disk'],
    ['flush', 'never'],
    ['flush.interval.ms', '0'],
    ['min.insync.replicas', '2'],
    ['toString', 'x'],
  ])('refuses %s=%s, at creation and later', async (key, value) => {
    expect(await create('a', 1, { [key]: value })).toBe('TOPIC_CONFIG_INVALID');
    const topic = await kernel.topics.create('a', 1);
    expect(await codeOf(kernel.topics.configure(topic, new Map([[key, value]])))).toBe(
      'TOPIC_CONFIG_INVALID',
    );
    expect(kernel.topics.byName('a')!.config.size).toBe(0);
  });

  it('null gives a key its default back', async () => {
    const topic = await kernel.topics.create('a', 1, new Map([['retention.ms', '5']]));
    await kernel.topics.configure(topic, new Map([['retention.ms', null]]));
    expect(kernel.topics.configOf(kernel.topics.byName('a')!)).toEqual(parseTopicConfig(new Map()));
  });

  it('cleanup.policy: blanks around a word change nothing', () => {
    // Regression: accepted, and then neither deleted nor compacted.
    expect(parseTopicConfig(new Map([['cleanup.policy', ' delete ']]))).toMatchObject({
      deleteOld: true,
      compact: false,
    });
  });

  it('retention.bytes: the oldest segments go when the rest is enough', async () => {
    const shard = await createShard(kernel, 'a', {
      'retention.bytes': String(1024 * 1024),
      'segment.bytes': String(1024 * 1024),
    });
    const now = Date.now();
    for (let at = 0; at < 6; at++)
      await append(shard, brokerBatch(['x'.repeat(600_000)], { timestamp: now }));
    await kernel.enforceRetention();
    expect(shard.startOffset).toBeGreaterThanOrEqual(2);
    expect(shard.startOffset).toBeLessThan(5);
    const kept = recordOf(storage, shard.id).segments.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(kept).toBeGreaterThanOrEqual(1024 * 1024);
  });

  it('storage: only while the topic is empty', async () => {
    const shard = await createShard(kernel, 'a');
    await append(shard, brokerBatch(['x']));
    const memory = new Map([['storage', 'memory']]);
    expect(await codeOf(kernel.topics.configure(shard.topic, memory))).toBe('TOPIC_CONFIG_INVALID');
    const empty = await kernel.topics.create('b', 1);
    expect(await codeOf(kernel.topics.configure(empty, memory))).toBe('accepted');
  });

  it('flush.interval.ms: travels with every entry that may be late', async () => {
    const shard = await createShard(kernel, 'a', { flush: 'interval', 'flush.interval.ms': '250' });
    await append(shard, brokerBatch(['x']));
    expect(storage.journal.lastDurability).toEqual({ kind: 'interval', ms: 250 });
    await kernel.topics.configure(shard.topic, new Map([['flush.interval.ms', '50']]));
    await append(shard, brokerBatch(['y']));
    expect(storage.journal.lastDurability).toEqual({ kind: 'interval', ms: 50 });
  });

  it('subject.wildcard: a leading wildcard matches the topic from then on, live and in the log', async () => {
    const shard = await createShard(kernel, 'orders');
    const matched = (): number =>
      kernel.router.match(kernel.subjects.forRecord(shard.topic, Buffer.from('k'), 0, 1)!).guaranteeMax;
    const [subscription] = kernel.subscriptions.subscribe(
      [{ filter: '#', subscriber: {}, guarantee: 1, options: null, since: null }],
      [],
    );
    expect(kernel.subscriptions.topicsOf('#').map(({ name }) => name)).toEqual(['mqtt']);
    expect(matched()).toBe(-1);
    await kernel.topics.configure(shard.topic, new Map([['subject.wildcard', 'true']]));
    expect(kernel.subscriptions.topicsOf('#').map(({ name }) => name)).toEqual(['mqtt', 'orders']);
    // Regression: an open shard went on with the topic as it was when the shard was opened.
    expect(shard.topic.config.get('subject.wildcard')).toBe('true');
    expect(matched()).toBe(1);
    kernel.subscriptions.unsubscribe(subscription!);
  });
});
