import { join } from 'node:path';
import { javaClientMissing, runJavaClient, ServerProcess, waitUntil } from '@robustmq/testkit';
import { beforeAll, describe, expect, it } from 'vitest';

const missing = await javaClientMissing();

describe.skipIf(missing !== null)(
  `Apache Kafka's Java client${missing === null ? '' : ` (${missing})`}`,
  () => {
    const outcomes = new Map<string, string>();

    beforeAll(async () => {
      await using server = await ServerProcess.start();
      const source = join(import.meta.dirname, 'java', 'ClientCheck.java');
      const args = [server.address('kafka')];
      const output = await runJavaClient(source, 'ClientCheck', { args, timeoutMs: 60_000 });
      for (const line of output.split('\n')) {
        const match = /^(PASS|FAIL) ([^:]+)/.exec(line);
        if (match !== null) outcomes.set(match[2]!, line);
      }
    }, 240_000);

    for (const name of [
      'produces and consumes with none',
      'produces and consumes with gzip',
      'produces and consumes with snappy',
      'produces and consumes with lz4',
      'produces and consumes with zstd',
      'resumes where it committed',
      'shares partitions cooperatively',
      'keeps the place of a static member',
      'manages topics',
      'manages groups',
      'describes the cluster',
    ]) {
      it(name, () => {
        expect(outcomes.get(name)).toBe(`PASS ${name}`);
      });
    }

    it('stores every record of an idempotent producer once and in order over kill -9 of the server', async () => {
      await using server = await ServerProcess.start();
      const topics = `http://${server.address('admin')}/api/v1/topics`;
      const created = await fetch(topics, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ name: 'once', shards: 1 }),
      });
      expect(created.status).toBe(201);
      const stored = async (): Promise<number> => {
        const topic = (await (await fetch(`${topics}/once`)).json()) as {
          shardList: { highWatermark: number | null }[];
        };
        return topic.shardList[0]!.highWatermark ?? 0;
      };
      const source = join(import.meta.dirname, 'java', 'IdempotentCheck.java');
      const count = 20_000;
      const args = [server.address('kafka'), 'once', String(count)];
      const running = runJavaClient(source, 'IdempotentCheck', { args, timeoutMs: 90_000 });
      running.catch(() => undefined);
      for (const at of [count / 4, count / 2]) {
        await waitUntil(async () => (await stored()) >= at, { timeoutMs: 60_000 });
        await server.kill();
        await server.start();
      }
      expect(await running).toBe('PASS\n');
    }, 240_000);
  },
);
