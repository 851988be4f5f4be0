import { describe, expect, test } from 'vitest';
import type { MetadataChange, TopicRecord } from '../ports/metadata.ts';
import { ImageFixture } from './image-fixture.ts';
import { SubjectTable } from './subject-table.ts';
import type { Subject } from './subject.ts';
import { shardOfKey } from './subject.ts';

function setUp(generationMax?: number) {
  const fixture = new ImageFixture();
  const metrics = fixture.bound('metrics');
  const orders = fixture.topic('orders');
  const options = generationMax === undefined ? fixture : Object.assign(fixture, { generationMax });
  const table = new SubjectTable(options);
  const tree = table.forPublish('x').topic;
  const apply = (...changes: MetadataChange[]) => table.apply({ revision: 1, changes });
  return { fixture, metrics, orders, tree, table, apply };
}

function ofRecord(table: SubjectTable, topic: TopicRecord, key: string | Buffer | null): Subject | null {
  if (key === null) return table.forRecord(topic, Buffer.alloc(0), -1, -1);
  const bytes = Buffer.concat([Buffer.from('??'), Buffer.from(key as string), Buffer.from('??')]);
  return table.forRecord(topic, bytes, 2, bytes.length - 2);
}

describe('subjects of publishes', () => {
  test('one name is one object, with topic, key and shard', () => {
    const { table, tree, metrics } = setUp();
    const subject = table.forPublish('a/b');
    expect(table.forPublish('a/b')).toBe(subject);
    expect(subject).toMatchObject({ name: 'a/b', topic: tree, keyHidden: false });
    expect(subject.key?.toString()).toBe('a/b');
    expect(table.forPublish('metrics/cpu')).toMatchObject({ topic: metrics });
    expect(() => table.forPublish('a/#')).toThrow();
  });

  test('DESIGN 5: the shard is murmur2 of the key, 31 bits of it, modulo the shards', () => {
    const { table, fixture } = setUp();
    const topic = fixture.topic('placed', { shards: 10, config: { 'subject.bind': 'true' } });
    // Known values of the hash: '21' -> -973932308, 'foobar' -> -790332482.
    for (const [key, hash] of [
      ['21', -973932308],
      ['foobar', -790332482],
    ] as const) {
      expect(table.forPublish(`placed/${key}`).shard).toBe(topic.shards[(hash & 0x7fffffff) % 10]);
    }
    expect(table.forPublish('metrics').shard).toBe(-1);
    expect(shardOfKey({ ...topic, shards: [] }, Buffer.from('x'))).toBe(-1);
  });
});

describe('subjects of records', () => {
  test('a record that leads back to its name shares the publishers\u2019 subject', () => {
    const { table, tree, metrics, orders } = setUp();
    for (const name of ['a/b', 'caf\u00e9/\u{1f600}']) {
      expect(ofRecord(table, tree, name)).toBe(table.forPublish(name));
      expect(ofRecord(table, metrics, name)).toBe(table.forPublish(`metrics/${name}`));
    }
    expect(ofRecord(table, metrics, null)).toBe(table.forPublish('metrics'));
    // The same name in the default topic is another record.
    const record = ofRecord(table, orders, 'eu');
    expect(record).toMatchObject({ name: 'orders/eu', topic: orders });
    expect(table.forPublish('orders/eu').topic).toBe(tree);
    expect(ofRecord(table, orders, 'eu')).toBe(record);
    // A key that a bound topic would have taken, written to the default topic past the mapping.
    expect(ofRecord(table, tree, 'metrics/cpu')).toMatchObject({ name: 'metrics/cpu', topic: tree });
  });

  test('keys are told apart by their bytes', () => {
    const { table, orders } = setUp();
    const utf8 = ofRecord(table, orders, '\u00e9');
    const twoLetters = ofRecord(table, orders, '\u00c3\u00a9');
    expect(utf8?.name).toBe('orders/\u00e9');
    expect(twoLetters?.name).toBe('orders/\u00c3\u00a9');
    expect(utf8?.key).toEqual(Buffer.from([0xc3, 0xa9]));
  });

  test('semantics 1.1: no subject without a legal key in the default topic', () => {
    const { table, tree } = setUp();
    for (const key of [null, '', '$x', 'a+', Buffer.of(0xff), 'x'.repeat(5000)]) {
      expect(ofRecord(table, tree, key)).toBeNull();
      expect(ofRecord(table, tree, key)).toBeNull();
    }
  });

  test('semantics 1.1: keys that can not show have one subject, which says so, and are not remembered', () => {
    const { table, orders } = setUp();
    const size = table.size;
    const hidden = ofRecord(table, orders, 'a+');
    expect(hidden).toMatchObject({ name: 'orders', key: null, keyHidden: true, shard: -1 });
    for (const key of [Buffer.of(0xff), Buffer.alloc(5000, 'x'), 'a\u0001']) {
      expect(ofRecord(table, orders, key)).toBe(hidden);
    }
    expect(ofRecord(table, orders, null)).toMatchObject({ name: 'orders', keyHidden: false });
    expect(ofRecord(table, orders, '')).toMatchObject({ name: 'orders/', keyHidden: false });
    expect(table.size).toBe(size + 1);
  });

  test('the key is a copy, not a view of the batch', () => {
    const { table, orders } = setUp();
    const batch = Buffer.from('key');
    const subject = table.forRecord(orders, batch, 0, 3);
    batch.fill(0);
    expect(subject?.key?.toString()).toBe('key');
  });
});

describe('the table is bounded', () => {
  test('names and keys that come once do not pile up', () => {
    const { table, orders } = setUp(100);
    for (let i = 0; i < 1000; i++) {
      table.forPublish(`n/${i}`);
      ofRecord(table, orders, `k/${i}`);
    }
    expect(table.size).toBeLessThanOrEqual(4 * 100);
    expect(table.size).toBeGreaterThan(2 * 100);
  });

  test('what is used again within a generation stays the same object', () => {
    const { table, orders } = setUp(100);
    const name = table.forPublish('kept');
    const record = ofRecord(table, orders, 'kept');
    for (let i = 0; i < 1000; i++) {
      table.forPublish(`n/${i}`);
      ofRecord(table, orders, `k/${i}`);
      if (i % 50 === 0) {
        expect(table.forPublish('kept')).toBe(name);
        expect(ofRecord(table, orders, 'kept')).toBe(record);
      }
    }
    for (let i = 0; i < 200; i++) table.forPublish(`m/${i}`);
    expect(table.forPublish('kept')).not.toBe(name);
  });

  test('long keys count by their length', () => {
    const { table, orders } = setUp();
    for (let i = 0; i < 6000; i++) ofRecord(table, orders, `${'x'.repeat(4000)}${i}`);
    expect(table.size).toBeLessThan(4500);
  });
});

describe('a change of a topic voids what it changes', () => {
  test('semantics 1.2: a topic that becomes bound takes its names from then on', () => {
    const { fixture, table, apply, tree } = setUp();
    expect(table.forPublish('later/x').topic).toBe(tree);
    const revision = table.revision;
    const later = fixture.bound('later');
    apply({ kind: 'topic', topic: later });
    expect(table.forPublish('later/x')).toMatchObject({ topic: later });
    expect(table.revision).toBeGreaterThan(revision);
  });

  test('a bound topic that is deleted, or bound no more, gives its names back', () => {
    const { fixture, table, apply, metrics, tree } = setUp();
    expect(table.forPublish('metrics/x').topic).toBe(metrics);
    apply({ kind: 'topic', topic: fixture.topic('metrics') });
    expect(table.forPublish('metrics/x').topic).toBe(tree);
    const again = fixture.bound('metrics');
    apply({ kind: 'topic', topic: again });
    expect(table.forPublish('metrics/x').topic).toBe(again);
    fixture.delete(again);
    apply({ kind: 'topicDeleted', topic: again });
    expect(table.forPublish('metrics/x').topic).toBe(tree);
  });

  test('added shards and changed configuration show in new subjects', () => {
    const { fixture, table, apply, orders } = setUp();
    const before = ofRecord(table, orders, 'eu');
    const grown = fixture.topic('orders', { shards: 9 });
    apply({ kind: 'topic', topic: grown });
    const after = ofRecord(table, grown, 'eu');
    expect(after).not.toBe(before);
    expect(after?.topic).toBe(grown);
    expect(grown.shards).toContain(after?.shard);
    expect(ofRecord(table, grown, null)?.topic).toBe(grown);
  });

  test('the creation of a topic that takes no names voids nothing', () => {
    const { fixture, table, apply, orders } = setUp();
    const name = table.forPublish('a');
    const record = ofRecord(table, orders, 'a');
    const revision = table.revision;
    apply({ kind: 'topic', topic: fixture.topic('new') });
    apply({ kind: 'topic', topic: fixture.topic('__sys', { internal: true }) });
    apply({ kind: 'topic', topic: fixture.topic('metrics', { tenant: 'other' }) });
    expect(table.forPublish('a')).toBe(name);
    expect(ofRecord(table, orders, 'a')).toBe(record);
    expect(table.revision).toBe(revision);
  });
});
