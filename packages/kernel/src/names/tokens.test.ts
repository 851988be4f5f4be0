import { describe, expect, test } from 'vitest';
import { filterTokens, keyTokens } from './tokens.ts';

const options = { defaultTopic: 'tree' };

function tokensOf(key: string | null): Set<number> {
  const out = new Set<number>();
  if (key === null) keyTokens(Buffer.alloc(0), -1, -1, out);
  else {
    // Positions inside a larger buffer, as in a batch.
    const bytes = Buffer.from(`??${key}??`);
    keyTokens(bytes, 2, bytes.length - 2, out);
  }
  return out;
}

/** Whether a block that holds only this key would be read. */
function read(topic: string, filter: string, key: string | null): boolean {
  const wanted = filterTokens({ name: topic }, filter, options);
  if (wanted === null) return true;
  const present = tokensOf(key);
  return wanted.tokens.every((token) => present.has(token));
}

describe('semantics 7.1: tokens of keys and filters', () => {
  test.each([
    ['tree', 'devices/+/alarm', 'devices/7/alarm', true],
    ['tree', 'devices/+/alarm', 'devices/7/state', false],
    ['tree', 'devices/+/alarm', 'alarm/7/devices', false],
    ['tree', 'devices/#', 'devices', true],
    ['tree', 'devices/#', 'devices/1/2', true],
    ['tree', 'devices/#', 'device', false],
    ['tree', 'a/b', 'a/b', true],
    ['tree', 'a/b', 'a/b/c', false],
    ['tree', 'a/b', 'a', false],
    ['tree', '/', '/', true],
    ['tree', '+/x', '/x', true],
    ['tree', '#', 'anything', true],
    ['tree', '+/+', 'any/thing', true],
    ['orders', 'orders/eu/+', 'eu/1', true],
    ['orders', 'orders/eu/+', 'us/1', false],
    ['orders', 'orders/eu', 'eu', true],
    ['orders', 'orders/eu', 'eu/1', false],
    ['orders', 'orders/', '', true],
    ['orders', 'orders/', 'eu', false],
    ['orders', 'orders/#', null, true],
    ['orders', '+/eu', 'eu', true],
    ['orders', '+/eu', 'us', false],
    ['orders', '#', 'eu', true],
    ['orders', 'other/eu', 'eu', false],
  ] as const)('topic %s, filter %s, key %s: read %s', (topic, filter, key, expected) => {
    expect(read(topic, filter, key)).toBe(expected);
  });

  test('the filter that is the topic itself finds records whose key does not show, and only those', () => {
    expect(read('orders', 'orders', null)).toBe(true);
    expect(read('orders', '+', null)).toBe(true);
    expect(read('orders', 'orders', 'eu/1')).toBe(false);
    for (const hidden of ['a+b', 'a#', 'a\u0001', 'x'.repeat(4000), '/'.repeat(127)]) {
      expect(read('orders', 'orders', hidden)).toBe(true);
    }
  });

  test('a filter without wildcards asks for the whole key only', () => {
    expect(filterTokens({ name: 'tree' }, 'a/b/c', options)?.tokens).toHaveLength(1);
    expect(filterTokens({ name: 'orders' }, 'orders/a/b', options)?.tokens).toHaveLength(1);
    expect(filterTokens({ name: 'tree' }, 'a/+/c', options)?.tokens).toHaveLength(2);
  });

  test('equal text at another level is another token, and no level is the whole key', () => {
    const tokens = tokensOf('x/x/x');
    expect(tokens.size).toBe(4);
    expect(tokensOf('x').size).toBe(2);
  });

  test('the tokens are those of the disk format', () => {
    expect([...tokensOf('devices/7/alarm')]).toMatchInlineSnapshot(`
      [
        4291123931,
        527476678,
        2211528853,
        2961982607,
      ]
    `);
    expect([...tokensOf(null)]).toMatchInlineSnapshot(`
      [
        1655169025,
      ]
    `);
    expect([...tokensOf('')]).toMatchInlineSnapshot(`
      [
        3652201487,
        534100790,
      ]
    `);
  });
});
