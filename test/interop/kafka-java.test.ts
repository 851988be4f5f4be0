import { join } from 'node:path';
import { javaClientMissing, runJavaClient, ServerProcess } from '@robustmq/testkit';
import { beforeAll, describe, expect, it } from 'vitest';

const missing = javaClientMissing();

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
  },
);
