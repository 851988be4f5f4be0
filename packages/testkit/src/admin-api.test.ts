import { request as httpRequest } from 'node:http';
import { AdminServer } from '@robustmq/admin';
import type { ShardId } from '@robustmq/core';
import { silentLogger } from '@robustmq/core';
import type { Kernel } from '@robustmq/kernel';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { MemoryStorage } from './memory-kernel.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';

let storage: MemoryStorage;
let kernel: Kernel;
let admin: AdminServer;
let ready: boolean;
let counted: number;

beforeEach(async () => {
  storage = await createMemoryStorage();
  kernel = await startKernel(storage);
  ready = true;
  counted = 7;
  admin = newAdmin(false);
  await admin.start();
});

afterEach(async () => {
  await admin.stop();
  await kernel.stop();
});

function newAdmin(open: boolean): AdminServer {
  return new AdminServer(
    { hosts: ['127.0.0.1'], port: 0, open },
    {
      kernel,
      logger: silentLogger,
      ready: () => ready,
      metrics: [
        {
          name: 'robustmq_test_things_total',
          help: 'Things.',
          type: 'counter',
          values: () => [{ labels: { kind: 'a' }, value: counted }],
        },
      ],
    },
  );
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

async function ask(method: string, path: string, body?: unknown): Promise<Answer> {
  const response = await fetch(`http://127.0.0.1:${admin.listener!.port}${path}`, {
    method,
    ...(body === undefined
      ? {}
      : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  const text = await response.text();
  const json = response.headers.get('content-type')?.startsWith('application/json') === true;
  return { status: response.status, body: json ? JSON.parse(text) : text };
}

/** A request with headers that `fetch` would not send. */
function askWith(headers: Record<string, string>, path = '/healthz', to = admin): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port: to.listener!.port, path, headers };
    const request = httpRequest(options, (response) => {
      response.resume();
      resolve(response.statusCode!);
    });
    request.once('error', reject);
    request.end();
  });
}

describe('health and metrics', () => {
  it('tells whether the process runs and whether it serves', async () => {
    expect(await ask('GET', '/healthz')).toEqual({ status: 200, body: { status: 'ok' } });
    expect(await ask('GET', '/readyz')).toEqual({ status: 200, body: { status: 'ready' } });
    ready = false;
    expect((await ask('GET', '/readyz')).status).toBe(503);
  });

  it('reads the metrics when they are asked for', async () => {
    const value = async (): Promise<string | undefined> => {
      const { body } = await ask('GET', '/metrics');
      return /^robustmq_test_things_total\{kind="a"\} (\d+)$/m.exec(body as string)?.[1];
    };
    expect(await value()).toBe('7');
    counted = 9;
    expect(await value()).toBe('9');
  });
});

describe('topics', () => {
  it('are created, listed, shown, changed and deleted', async () => {
    const config = { 'subject.bind': 'true', 'retention.ms': '1000' };
    const created = await ask('POST', '/api/v1/topics', { name: 'sensors', shards: 2, config });
    expect(created).toMatchObject({ status: 201, body: { name: 'sensors', shards: 2, bound: true, config } });
    const listed = (await ask('GET', '/api/v1/topics')).body as { name: string }[];
    expect(listed.map(({ name }) => name)).toEqual(['mqtt', 'sensors']);
    const changed = await ask('PATCH', '/api/v1/topics/sensors', {
      config: { 'retention.ms': null, 'retention.bytes': '5' },
    });
    expect(changed).toMatchObject({
      status: 200,
      body: { config: { 'subject.bind': 'true', 'retention.bytes': '5' } },
    });
    const shown = (await ask('GET', '/api/v1/topics/sensors')).body as {
      effectiveConfig: Record<string, string>;
      shardList: object[];
    };
    expect(shown.effectiveConfig['retention.ms']).toBe('604800000');
    expect(shown.shardList).toMatchObject([
      { index: 0, owner: 1, startOffset: 0, holes: [] },
      { index: 1, owner: 1, startOffset: 0, holes: [] },
    ]);
    expect(await ask('DELETE', '/api/v1/topics/sensors')).toEqual({ status: 204, body: '' });
    expect(await ask('GET', '/api/v1/topics/sensors')).toMatchObject({
      status: 404,
      body: { code: 'TOPIC_NOT_FOUND' },
    });
  });

  it('grow, and take the default number of shards', async () => {
    expect(await ask('POST', '/api/v1/topics', { name: 'logs' })).toMatchObject({ body: { shards: 4 } });
    expect(await ask('PATCH', '/api/v1/topics/logs', { shards: 6 })).toMatchObject({ body: { shards: 6 } });
    expect(await ask('PATCH', '/api/v1/topics/logs', { shards: 2 })).toMatchObject({
      status: 400,
      body: { code: 'SHARD_COUNT_INVALID' },
    });
  });

  it('of the system are neither shown nor touched', async () => {
    const body = (await ask('GET', '/api/v1/topics')).body as { name: string }[];
    expect(body.filter(({ name }) => name.startsWith('__'))).toEqual([]);
    expect((await ask('POST', '/api/v1/topics', { name: '__sessions' })).body).toMatchObject({
      code: 'TOPIC_POLICY',
    });
    expect((await ask('DELETE', '/api/v1/topics/__sessions')).status).toBe(404);
    expect(await ask('DELETE', '/api/v1/topics/mqtt')).toMatchObject({
      status: 409,
      body: { code: 'TOPIC_POLICY' },
    });
  });

  const refused: [string, string, string, unknown, number, string][] = [
    ['a body without a name', 'POST', '/api/v1/topics', {}, 400, 'REQUEST_INVALID'],
    ['an unknown key', 'POST', '/api/v1/topics', { name: 'a', partitions: 1 }, 400, 'REQUEST_INVALID'],
    ['a number as text', 'POST', '/api/v1/topics', { name: 'a', shards: '3' }, 400, 'REQUEST_INVALID'],
    ['no shards', 'POST', '/api/v1/topics', { name: 'a', shards: 0 }, 400, 'REQUEST_INVALID'],
    ['a list', 'POST', '/api/v1/topics', [1], 400, 'REQUEST_INVALID'],
    ['a bad name', 'POST', '/api/v1/topics', { name: 'a/b' }, 400, 'TOPIC_NAME_INVALID'],
    ['a name twice', 'POST', '/api/v1/topics', { name: 'mqtt' }, 409, 'TOPIC_EXISTS'],
    [
      'an unknown topic key',
      'POST',
      '/api/v1/topics',
      { name: 'a', config: { nope: '1' } },
      400,
      'TOPIC_CONFIG_INVALID',
    ],
    ['two changes', 'PATCH', '/api/v1/topics/mqtt', { shards: 20, config: {} }, 400, 'REQUEST_INVALID'],
    ['no change', 'PATCH', '/api/v1/topics/mqtt', {}, 400, 'REQUEST_INVALID'],
    [
      'growth of the default topic',
      'PATCH',
      '/api/v1/topics/mqtt',
      { shards: 20 },
      400,
      'SHARD_COUNT_INVALID',
    ],
    ['a missing topic', 'PATCH', '/api/v1/topics/none', { shards: 2 }, 404, 'TOPIC_NOT_FOUND'],
    ['an unknown path', 'GET', '/api/v1/nothing', undefined, 404, 'ROUTE_NOT_FOUND'],
    [
      'a body that is too large',
      'POST',
      '/api/v1/topics',
      { name: 'x'.repeat(300_000) },
      413,
      'REQUEST_TOO_LARGE',
    ],
  ];
  for (const [what, method, path, body, status, code] of refused) {
    it(`refuse ${what}`, async () => {
      const answer = await ask(method, path, body);
      expect(answer).toMatchObject({ status, body: { code } });
      expect((answer.body as { message: string }).message).not.toBe('');
    });
  }

  it('refuse what is no JSON', async () => {
    const url = `http://127.0.0.1:${admin.listener!.port}/api/v1/topics`;
    const send = async (type: string, body: string): Promise<number> =>
      (await fetch(url, { method: 'POST', headers: { 'content-type': type }, body })).status;
    expect(await send('application/json', '{"name":')).toBe(400);
    expect(await send('application/json', '{"name":"a","__proto__":{"x":1}}')).toBe(400);
    expect(await send('text/plain', '{"name":"a"}')).toBe(415);
    expect(kernel.topics.list()).toHaveLength(1);
  });
});

describe('shards', () => {
  async function lossyShard(): Promise<ShardId> {
    const topic = await kernel.topics.create('lossy', 1);
    const shard = topic.shards[0]!;
    const epoch = storage.metadata.image.shards.get(shard)!.ownerEpoch;
    const hole = { from: 0, to: 5, kind: 'lost' as const };
    const [result] = await storage.metadata.propose([
      { kind: 'rollSegment', shard, epoch, sealed: null, hole, open: false },
    ]);
    if (result instanceof Error) throw result;
    return shard;
  }

  it('go on without what they lost when that is accepted', async () => {
    const shard = await lossyShard();
    expect(await ask('GET', `/api/v1/shards/${shard}`)).toMatchObject({
      status: 200,
      body: { topic: 'lossy', holes: [{ from: 0, to: 5, kind: 'lost' }], lossAccepted: false },
    });
    const accepted = await ask('POST', `/api/v1/shards/${shard}/accept-loss`, {});
    expect(accepted).toMatchObject({ status: 200, body: { id: shard, lossAccepted: true } });
    expect(storage.metadata.image.shards.get(shard)!.lossAccepted).toBe(true);
  });

  it('accept nothing without a body, for no such shard or for no number', async () => {
    const shard = await lossyShard();
    expect((await ask('POST', `/api/v1/shards/${shard}/accept-loss`)).status).toBe(400);
    expect(storage.metadata.image.shards.get(shard)!.lossAccepted).toBe(false);
    expect(await ask('POST', '/api/v1/shards/99999/accept-loss', {})).toMatchObject({
      status: 404,
      body: { code: 'SHARD_NOT_FOUND' },
    });
    expect((await ask('GET', '/api/v1/shards/x1')).status).toBe(400);
  });
});

describe('pages of others', () => {
  it('may not ask, neither from their origin nor under a name of their own', async () => {
    expect(await askWith({ origin: 'https://example.org' })).toBe(403);
    expect(await askWith({ origin: 'null' })).toBe(403);
    expect(await askWith({ host: 'example.org' })).toBe(403);
    const { port } = admin.listener!;
    expect(await askWith({ host: `localhost:${port}` })).toBe(200);
    expect(await askWith({ host: `[::1]:${port}` })).toBe(200);
    expect(await askWith({ host: `localhost:${port}`, origin: `http://localhost:${port}` })).toBe(200);
  });

  it('may use any name of a listener that is open to other machines, from its own origin only', async () => {
    const open = newAdmin(true);
    await open.start();
    expect(await askWith({ host: 'broker.example' }, '/healthz', open)).toBe(200);
    expect(await askWith({ host: 'broker.example', origin: 'http://x' }, '/healthz', open)).toBe(403);
    await open.stop();
  });
});
