import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import { ServerProcess } from '@robustmq/testkit';
import { describe, expect, it, vi } from 'vitest';

// Real processes, on a machine that other tests use too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

async function scrape(server: ServerProcess): Promise<Map<string, number>> {
  const text = await (await fetch(`http://${server.address('admin')}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith('robustmq_'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]));
}

describe('/metrics', () => {
  it('has every metric of docs/metrics.md and counts what happens', async () => {
    await using server = await ServerProcess.start();
    const before = await scrape(server);
    const docs = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'metrics.md'), 'utf8');
    const documented = [...docs.matchAll(/^\| `(robustmq_[a-z0-9_]+)`/gm)].map((match) => match[1]!);
    const names = new Set([...before.keys()].map((name) => name.replace(/\{.*\}$/, '')));
    expect([...names].sort()).toEqual(documented.sort());
    expect([...before.values()].every((value) => Number.isFinite(value))).toBe(true);

    const kafka = new Kafka({ brokers: [server.address('kafka')], logLevel: logLevel.NOTHING });
    const producer = kafka.producer();
    await producer.connect();
    await producer.send({ topic: 'counted', messages: [{ key: 'k', value: 'x'.repeat(1000) }] });
    const after = await scrape(server);
    const grown = (name: string): number => after.get(name)! - before.get(name)!;
    expect(grown('robustmq_kafka_connections')).toBeGreaterThan(0);
    expect(grown('robustmq_kafka_produced_batches_total')).toBe(1);
    expect(grown('robustmq_kafka_produced_bytes_total')).toBeGreaterThan(1000);
    expect(grown('robustmq_journal_appended_bytes_total')).toBeGreaterThan(1000);
    expect(grown('robustmq_wal_frames_total')).toBeGreaterThan(0);
    expect(grown('robustmq_disk_written_bytes_total{class="wal"}')).toBeGreaterThan(1000);
    expect(grown('robustmq_kernel_topics')).toBe(1);
    await producer.disconnect();
  });
});
