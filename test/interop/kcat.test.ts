import { hasCommand, runCommand, ServerProcess, waitUntil } from '@robustmq/testkit';
import type { CommandResult } from '@robustmq/testkit';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

// Real processes, on a machine that other tests use too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const installed = hasCommand('kcat', ['-V']);

describe.skipIf(!installed)(`kcat${installed ? '' : ' (not installed)'}`, () => {
  let server: ServerProcess;

  beforeAll(async () => {
    server = await ServerProcess.start();
  });

  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  const kcat = (args: readonly string[], input?: string): Promise<CommandResult> =>
    runCommand('kcat', ['-b', server.address('kafka'), ...args], input === undefined ? {} : { input });

  async function produce(
    topic: string,
    lines: readonly string[],
    args: readonly string[] = [],
  ): Promise<void> {
    const result = await kcat(['-P', '-t', topic, '-K:', ...args], lines.map((line) => `${line}\n`).join(''));
    expect(result.stderr).not.toContain('Delivery failed');
    expect(result.code).toBe(0);
  }

  /** Everything in the topic, as `key:value` sorted. */
  async function readAll(topic: string, args: readonly string[] = []): Promise<string[]> {
    const result = await kcat(['-C', '-t', topic, '-e', '-q', '-f', '%k:%s\n', ...args]);
    expect(result.stderr).toBe('');
    return result.stdout.split('\n').slice(0, -1).sort();
  }

  const lines = (from: number, to: number): string[] =>
    Array.from({ length: to - from }, (_, index) => `key-${(from + index) % 5}:${from + index}`).sort();

  for (const codec of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
    it(`produces and consumes with ${codec}`, async () => {
      const topic = `codec-${codec}`;
      const sent = Array.from(
        { length: 500 },
        (_, index) => `key-${index}:${'again and '.repeat(20)}${index}`,
      );
      await produce(topic, sent, ['-z', codec]);
      expect(await readAll(topic, ['-X', 'check.crcs=true'])).toEqual(sent.sort());
    });
  }

  it('produces headers, empty and null values', async () => {
    await produce('fields', ['a:1'], ['-H', 'one=1', '-H', 'one=2', '-H', 'empty=']);
    await produce('fields', ['b:'], ['-Z']);
    const result = await kcat(['-C', '-t', 'fields', '-e', '-q', '-f', '%k|%S|%h\n']);
    expect(result.stdout.split('\n').slice(0, -1).sort()).toEqual(['a|1|one=1,one=2,empty=', 'b|-1|']);
  });

  it('produces with idempotence', async () => {
    const sent = lines(0, 2000);
    await produce('idempotent', sent, ['-X', 'enable.idempotence=true', '-X', 'batch.num.messages=50']);
    expect(await readAll('idempotent')).toEqual(sent);
  });

  it('produces with acks 1 and 0', async () => {
    await produce('acks', lines(0, 100), ['-X', 'acks=1']);
    await produce('acks', lines(100, 200), ['-X', 'acks=0']);
    await waitUntil(async () => (await readAll('acks')).length === 200);
    expect(await readAll('acks')).toEqual(lines(0, 200));
  });

  it('resumes a group where it committed, over a restart of the server', async () => {
    const group = [
      '-X',
      'auto.offset.reset=earliest',
      '-X',
      'session.timeout.ms=6000',
      '-e',
      '-q',
      '-f',
      '%k:%s\n',
    ];
    const readGroup = async (): Promise<string[]> => {
      const result = await kcat([...group, '-G', 'kcat-group', 'resume']);
      return result.stdout.split('\n').slice(0, -1).sort();
    };
    await produce('resume', lines(0, 100));
    expect(await readGroup()).toEqual(lines(0, 100));
    await server.stop();
    await server.start();
    await produce('resume', lines(100, 150));
    expect(await readGroup()).toEqual(lines(100, 150));
  });

  it('reads from an offset, from the end and from a time', async () => {
    await produce('positions', ['k:1', 'k:2', 'k:3'], ['-p', '0']);
    const read = async (offset: string): Promise<string> =>
      (await kcat(['-C', '-t', 'positions', '-p', '0', '-o', offset, '-e', '-q'])).stdout;
    expect(await read('1')).toBe('2\n3\n');
    expect(await read('-1')).toBe('3\n');
    expect(await read('s@1000')).toBe('1\n2\n3\n');
    expect(await read(`s@${Date.now() + 60_000}`)).toBe('');
    const query = async (time: number): Promise<string> =>
      (await kcat(['-Q', '-t', `positions:0:${time}`])).stdout.trim();
    expect(await query(-2)).toBe('positions [0] offset 0');
    expect(await query(1000)).toBe('positions [0] offset 0');
    expect(await query(-1)).toBe('positions [0] offset 3');
    expect(await query(Date.now() + 60_000)).toBe('positions [0] offset -1');
  });

  it('lists brokers, topics and partitions', async () => {
    await produce('listed', ['k:v']);
    const { stdout } = await kcat(['-L', '-J', '-t', 'listed']);
    const answer = JSON.parse(stdout) as {
      brokers: unknown[];
      topics: { topic: string; partitions: unknown[] }[];
    };
    expect(answer.brokers).toEqual([{ id: 1, name: server.address('kafka') }]);
    expect(answer.topics[0]).toMatchObject({ topic: 'listed' });
    expect(answer.topics[0]!.partitions).toHaveLength(4);
  });
});
