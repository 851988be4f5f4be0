import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ImageFixture } from './image-fixture.ts';
import { NameMap } from './name-map.ts';
import { isSubjectName } from './subject-safe.ts';

function setUp() {
  const fixture = new ImageFixture();
  const topics = {
    tree: fixture.topic('tree', { shards: 16 }),
    metrics: fixture.bound('metrics'),
    orders: fixture.topic('orders'),
  };
  fixture.topic('__system', { internal: true, config: { 'subject.bind': 'true' } });
  return { fixture, ...topics, names: new NameMap(fixture) };
}

function located(names: NameMap, name: string): [string, string | null] {
  const { topic, key } = names.locate(name);
  return [topic.name, key === null ? null : key.toString()];
}

describe('semantics 1.1: the name of a record', () => {
  const { names, tree, orders, metrics, fixture } = setUp();
  const name = (topic: typeof tree, key: string | null) =>
    names.name(topic, key === null ? null : Buffer.from(key));

  test('in the default topic the name is the key itself', () => {
    expect(name(tree, 'a/b')).toEqual({ name: 'a/b', keyHidden: false });
    expect(name(tree, '/')).toEqual({ name: '/', keyHidden: false });
  });

  test('in the default topic a key that is null, empty, unsafe or begins with $ gives no subject', () => {
    for (const key of [null, '', '$x', '$SYS/a', 'a+b', '#', 'a\u0001', 'x'.repeat(4097), '/'.repeat(128)]) {
      expect(name(tree, key)).toBeNull();
    }
    expect(names.name(tree, Buffer.of(0x61, 0xff))).toBeNull();
  });

  test('in another topic the name is T for a null key and T/key otherwise; null differs from empty', () => {
    for (const topic of [orders, metrics]) {
      expect(name(topic, null)).toEqual({ name: topic.name, keyHidden: false });
      expect(name(topic, '')).toEqual({ name: `${topic.name}/`, keyHidden: false });
      expect(name(topic, 'eu/1')).toEqual({ name: `${topic.name}/eu/1`, keyHidden: false });
      expect(name(topic, '$x')).toEqual({ name: `${topic.name}/$x`, keyHidden: false });
    }
  });

  test('a key that can not stand in a name gives T and is hidden', () => {
    const long = 4096 - 'orders/'.length;
    for (const key of ['a+b', 'a/#', 'a\nb', 'x'.repeat(long + 1), '/'.repeat(127)]) {
      expect(name(orders, key)).toEqual({ name: 'orders', keyHidden: true });
    }
    expect(names.name(orders, Buffer.of(0xc0, 0x80))).toEqual({ name: 'orders', keyHidden: true });
    expect(name(orders, 'x'.repeat(long))).toMatchObject({ keyHidden: false });
    expect(name(orders, '/'.repeat(126))).toMatchObject({ keyHidden: false });
  });

  test('records of internal topics have no subject', () => {
    expect(name(fixture.topic('__other', { internal: true }), 'a')).toBeNull();
  });

  test('a topic whose name is no level of a name gives no subjects', () => {
    for (const topic of ['a/b', '$a', '+', 'a\u0001']) expect(name(fixture.topic(topic), 'k')).toBeNull();
  });
});

describe('semantics 1.2: where a published name goes', () => {
  test('to a bound topic when its first level is the topic, else whole to the default topic', () => {
    const { names } = setUp();
    expect(located(names, 'metrics/cpu/1')).toEqual(['metrics', 'cpu/1']);
    expect(located(names, 'metrics')).toEqual(['metrics', null]);
    expect(located(names, 'metrics/')).toEqual(['metrics', '']);
    expect(located(names, 'metrics2/cpu')).toEqual(['tree', 'metrics2/cpu']);
    expect(located(names, '/metrics/cpu')).toEqual(['tree', '/metrics/cpu']);
  });

  test('x/y and the same below the default topic never meet', () => {
    const { names } = setUp();
    expect(located(names, 'x/y')).toEqual(['tree', 'x/y']);
    expect(located(names, 'tree/x/y')).toEqual(['tree', 'tree/x/y']);
    expect(located(names, 'tree')).toEqual(['tree', 'tree']);
  });

  test('the default topic is not bound, whatever its configuration says', () => {
    const { names, fixture } = setUp();
    fixture.topic('tree', { config: { 'subject.bind': 'true' } });
    expect(located(names, 'tree/x')).toEqual(['tree', 'tree/x']);
  });

  test('the name of what a publish became is the publish, byte for byte, and no two meet', () => {
    const { names } = setUp();
    const level = fc.constantFrom('', 'metrics', 'orders', 'tree', 'a', '\u00e9', '__system', '\u{1f600}');
    const name = fc
      .array(level, { minLength: 1, maxLength: 4 })
      .map((levels) => levels.join('/'))
      .filter(isSubjectName);
    fc.assert(
      fc.property(name, name, (one, other) => {
        const { topic, key } = names.locate(one);
        expect(names.name(topic, key)).toEqual({ name: one, keyHidden: false });
        const second = names.locate(other);
        const same = topic === second.topic && String(key) === String(second.key);
        if (one !== other) expect(same && (key === null) === (second.key === null)).toBe(false);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('semantics 1.3: topics are bound by configuration', () => {
  test('a topic that is not bound takes no names, nor does an internal one', () => {
    const { names } = setUp();
    expect(located(names, 'orders/eu')).toEqual(['tree', 'orders/eu']);
    expect(located(names, '__system/x')).toEqual(['tree', '__system/x']);
  });

  test("another tenant's topic takes no names", () => {
    const { names, fixture } = setUp();
    fixture.topic('theirs', { tenant: 'other', config: { 'subject.bind': 'true' } });
    expect(located(names, 'theirs/x')).toEqual(['tree', 'theirs/x']);
  });
});

describe('names that nobody may publish under', () => {
  test.each(['', '+', 'a/#', 'a\u0000', '$SYS/x', '\ud800'])('%j is refused', (name) => {
    expect(() => setUp().names.locate(name)).toThrow(expect.objectContaining({ code: 'TOPIC_NAME_INVALID' }));
  });

  test('while the default topic is missing the refusal can be retried', () => {
    const { names, fixture, tree } = setUp();
    fixture.delete(tree);
    expect(() => names.locate('a')).toThrow(
      expect.objectContaining({ code: 'TOPIC_NOT_FOUND', retriable: true }),
    );
    expect(located(names, 'metrics/a')).toEqual(['metrics', 'a']);
  });
});
