import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import { runRobustmq, ServerProcess } from '@robustmq/testkit';
import { describe, expect, it, vi } from 'vitest';

// Real processes, on a machine that other tests use too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

/** Flips a byte of the last place in a folder's files that holds `text`; returns whether there is one. */
function damageLast(folder: string, text: string): boolean {
  const [name, ...others] = readdirSync(folder).filter((each) =>
    readFileSync(join(folder, each)).includes(text),
  );
  // The test writes little: all of it is in one file.
  if (name === undefined || others.length > 0) return false;
  const path = join(folder, name);
  const bytes = readFileSync(path);
  bytes[bytes.lastIndexOf(text)]! ^= 0xff;
  writeFileSync(path, bytes);
  return true;
}

describe('storage 4.5: a server whose group state lost acknowledged records', () => {
  it('serves the rest, and the groups when the loss is accepted', async () => {
    await using server = await ServerProcess.start({ mayBeUnready: true });
    const kafka = new Kafka({
      brokers: [server.address('kafka')],
      logLevel: logLevel.NOTHING,
      retry: { initialRetryTime: 50, retries: 2 },
    });
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic: 'data', numPartitions: 1 }] });
    const producer = kafka.producer();
    await producer.connect();
    const consumer = kafka.consumer({ groupId: 'the-damaged-group', maxWaitTimeInMs: 50 });
    await consumer.connect();
    await consumer.subscribe({ topic: 'data', fromBeginning: true });
    const consumed = new Promise<void>((resolve) => {
      void consumer.run({ autoCommit: false, eachMessage: async () => resolve() });
    });
    await producer.send({ topic: 'data', messages: [{ value: 'first' }] });
    await consumed;
    await consumer.commitOffsets([{ topic: 'data', partition: 0, offset: '1' }]);
    // What follows in the log proves that the damage is no torn tail; nothing is in segments yet.
    await producer.send({ topic: 'data', messages: [{ value: 'second' }] });
    await server.kill();
    expect(damageLast(join(server.dataDir, 'journal', 'wal'), 'the-damaged-group')).toBe(true);
    await Promise.allSettled([consumer.disconnect(), producer.disconnect(), admin.disconnect()]);

    await server.start();
    const adminUrl = `http://${server.address('admin')}`;
    expect((await fetch(`${adminUrl}/readyz`)).status).toBe(503);
    expect((await fetch(`${adminUrl}/healthz`)).status).toBe(200);
    const first = await server.stop();
    const id = /robustmq shard accept-loss (\d+)/.exec(first.stdout)?.[1];
    expect(first.stdout).toContain('Not open: kafka');
    expect(id).toBeDefined();

    await server.start();
    const accepted = await runRobustmq(['shard', 'accept-loss', id!, '--admin', adminUrl]);
    expect(accepted).toMatchObject({ code: 0, stderr: '' });
    expect(accepted.stdout).toMatch(/goes on without what it has lost. Restart the server/);
    await server.stop();
    await server.start();
    expect((await fetch(`${adminUrl}/readyz`)).status).toBe(200);
    const again = kafka.admin();
    await again.connect();
    expect(await again.listGroups()).toBeDefined();
    await again.disconnect();
  });

  it('says which records of its state are damaged in a segment, and goes on when that is accepted', async () => {
    await using server = await ServerProcess.start({ mayBeUnready: true });
    const kafka = new Kafka({ brokers: [server.address('kafka')], logLevel: logLevel.NOTHING });
    const consumer = kafka.consumer({ groupId: 'the-damaged-group', maxWaitTimeInMs: 50 });
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic: 'data', numPartitions: 1 }] });
    await admin.disconnect();
    await consumer.connect();
    await consumer.subscribe({ topic: 'data' });
    const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve));
    await consumer.run({ eachMessage: async () => undefined });
    await joined;
    await consumer.disconnect();
    await server.stop();
    // The second start seals the segment; without the log that the records came from, nothing replaces them.
    await server.start();
    await server.stop();
    const wal = join(server.dataDir, 'journal', 'wal');
    for (const name of readdirSync(wal)) rmSync(join(wal, name));
    expect(damageLast(join(server.dataDir, 'journal', 'segments'), 'the-damaged-group')).toBe(true);
    await server.start();
    const adminUrl = `http://${server.address('admin')}`;
    expect((await fetch(`${adminUrl}/healthz`)).status).toBe(200);
    const { stdout } = await server.stop();
    expect(stdout).toMatch(/Not open: kafka: .* \(stored entries are damaged, offsets \d+ to \d+\); see/);
    const id = /robustmq shard accept-loss (\d+)/.exec(stdout)?.[1];

    await server.start();
    const accepted = await runRobustmq(['shard', 'accept-loss', id!, '--admin', adminUrl]);
    expect(accepted).toMatchObject({ code: 0, stderr: '' });
    await server.stop();
    await server.start();
    expect((await fetch(`${adminUrl}/readyz`)).status).toBe(200);
  });

  it('refuses commands that make no sense', async () => {
    await using server = await ServerProcess.start();
    const adminUrl = `http://${server.address('admin')}`;
    const ask = (...args: string[]): ReturnType<typeof runRobustmq> =>
      runRobustmq(['shard', ...args, '--admin', adminUrl]);
    expect(await ask('accept-loss', '99999')).toMatchObject({ code: 1, stdout: '' });
    expect((await ask('accept-loss', '99999')).stderr).toContain('404: there is no such shard');
    expect(await ask('accept-loss', 'one')).toMatchObject({ code: 2, stdout: '' });
    expect(await ask('drop', '1')).toMatchObject({ code: 2, stdout: '' });
    expect((await ask('accept-loss', '1')).stdout).toContain('has lost nothing');
    await server.stop();
    const late = await ask('accept-loss', '1');
    expect(late.code).toBe(1);
    expect(late.stderr).toContain('no server answers');
  });
});

describe('storage 2.6: a server whose metadata is lost', () => {
  it('does not start before that is accepted', async () => {
    await using server = await ServerProcess.start();
    const config = ['--config', server.configPath];
    const running = await runRobustmq(['meta', 'accept-loss', ...config]);
    expect(running.code).toBe(1);
    expect(running.stderr).toContain('in use by another process');
    // The second start takes what it needs from the snapshot: the log's first files are free from then on.
    await server.stop();
    await server.start();
    await server.kill();
    for (const name of ['state', 'snapshots']) {
      rmSync(join(server.dataDir, 'meta', name), { recursive: true });
    }
    const refused = await runRobustmq(['start', ...config]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('robustmq meta accept-loss');
    const accepted = await runRobustmq(['meta', 'accept-loss', ...config]);
    expect(accepted.stdout).toMatch(/^metadata goes on with \d+ topics/);
    expect(accepted.code).toBe(0);
    await server.start();
    expect((await fetch(`http://${server.address('admin')}/readyz`)).status).toBe(200);
  });

  it('has no metadata where there is no data folder', async () => {
    const exit = await runRobustmq(['meta', 'accept-loss'], { env: { ROBUSTMQ_DATA_DIR: '/nowhere/data' } });
    expect(exit).toMatchObject({ code: 2, stdout: '' });
    expect(exit.stderr).toContain('no metadata in /nowhere/data');
  });
});
