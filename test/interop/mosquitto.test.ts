import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { hasCommand, runCommand, ServerProcess, waitUntil } from '@robustmq/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const programs = ['mosquitto_pub', 'mosquitto_sub', 'mosquitto_rr'];
const missing = programs.filter((name) => !hasCommand(name, ['--help']));
const title = `mosquitto's clients${missing.length === 0 ? '' : ` (not installed: ${missing.join(', ')})`}`;

/** A running `mosquitto_sub`, ended with the test. */
class Subscriber {
  readonly lines: string[] = [];
  readonly exited: Promise<number | null>;
  readonly #child: ChildProcess;

  constructor(args: readonly string[]) {
    this.#child = spawn('mosquitto_sub', args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let rest = '';
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      this.lines.push(...lines);
    });
    this.exited = new Promise((resolve) => this.#child.once('close', resolve));
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<number | null> {
    this.#child.kill(signal);
    return this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

describe.skipIf(missing.length > 0)(title, () => {
  let server: ServerProcess;

  beforeAll(async () => {
    server = await ServerProcess.start();
  });

  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  const at = (): string[] => ['-h', '127.0.0.1', '-p', String(server.ports.mqtt)];

  async function publish(args: readonly string[], input?: string): Promise<void> {
    const result = await runCommand(
      'mosquitto_pub',
      [...at(), ...args],
      input === undefined ? {} : { input },
    );
    expect(result.stderr).toBe('');
    expect(result.code).toBe(0);
  }

  /** Subscribes and waits until the server knows it, by a retained message under the same filter. */
  async function subscribe(topic: string, args: readonly string[]): Promise<Subscriber> {
    await publish(['-t', `${topic}/ready`, '-m', 'ready', '-r', '-q', '1']);
    const subscriber = new Subscriber([...at(), '-t', `${topic}/#`, ...args]);
    await waitUntil(() => subscriber.lines.length > 0);
    subscriber.lines.length = 0;
    return subscriber;
  }

  const range = (from: number, to: number): string[] =>
    Array.from({ length: to - from }, (_, index) => String(from + index));

  for (const version of ['mqttv31', 'mqttv311', 'mqttv5']) {
    for (const qos of ['0', '1', '2']) {
      it(`publish and subscribe, ${version} at QoS ${qos}, in order`, async () => {
        const topic = `mosquitto/${version}/${qos}`;
        const common = ['-V', version, '-q', qos];
        await using subscriber = await subscribe(topic, common);
        await publish([...common, '-t', `${topic}/x`, '-l'], range(0, 200).join('\n'));
        await waitUntil(() => subscriber.lines.length >= 200);
        expect(subscriber.lines).toEqual(range(0, 200));
      });
    }
  }

  it('properties of version 5 come as they went', async () => {
    await using subscriber = await subscribe('props', ['-V', 'mqttv5', '-q', '1', '-F', '%C|%R|%D|%P|%A|%p']);
    const property = (...rest: string[]): string[] => ['-D', 'publish', ...rest];
    await publish([
      ...['-V', 'mqttv5', '-q', '1', '-t', 'props/x', '-m', 'body'],
      ...property('content-type', 'text/plain'),
      ...property('response-topic', 'answers'),
      ...property('correlation-data', 'c1'),
      ...property('user-property', 'b', '1'),
      ...property('user-property', 'a', '2'),
    ]);
    await waitUntil(() => subscriber.lines.length > 0);
    expect(subscriber.lines).toEqual(['text/plain|answers|c1|b:1 a:2||body']);
  });

  it('retained messages, also by wildcard, and clearing them', async () => {
    await publish(['-t', 'retained/a', '-m', 'one', '-r', '-q', '1']);
    await publish(['-t', 'retained/b/c', '-m', 'two', '-r', '-q', '2']);
    const read = async (): Promise<string[]> => {
      const args = [...at(), '-t', 'retained/#', '-v', '-W', '1'];
      return (await runCommand('mosquitto_sub', args)).stdout.split('\n').slice(0, -1).sort();
    };
    expect(await read()).toEqual(['retained/a one', 'retained/b/c two']);
    await publish(['-t', 'retained/a', '-n', '-r', '-q', '1']);
    expect(await read()).toEqual(['retained/b/c two']);
  });

  it('a will comes when its client is killed, and not when it ends in good order', async () => {
    await using watcher = await subscribe('wills', ['-q', '1']);
    const will = (name: string): string[] => [
      '--will-topic',
      `wills/${name}`,
      '--will-payload',
      name,
      '--will-qos',
      '1',
    ];
    const killed = await subscribe('wills', ['-i', 'killed', ...will('killed')]);
    const polite = await subscribe('wills', ['-i', 'polite', ...will('polite')]);
    await polite.kill('SIGINT');
    await killed.kill();
    await waitUntil(() => watcher.lines.includes('killed'));
    expect(watcher.lines.filter((line) => line !== 'ready')).toEqual(['killed']);
  });

  it('request and response', async () => {
    await using responder = await subscribe('requests', ['-V', 'mqttv5', '-q', '1', '-F', '%R %D %p']);
    const args = [
      '-V',
      'mqttv5',
      '-q',
      '1',
      '-t',
      'requests/x',
      '-e',
      'responses/x',
      '-m',
      'question',
      '-W',
      '10',
    ];
    const asked = runCommand('mosquitto_rr', [...at(), ...args, '-D', 'publish', 'correlation-data', '7']);
    await waitUntil(() => responder.lines.length > 0);
    expect(responder.lines).toEqual(['responses/x 7 question']);
    await publish(['-V', 'mqttv5', '-q', '1', '-t', 'responses/x', '-m', 'answer']);
    expect(await asked).toMatchObject({ code: 0, stdout: 'answer\n' });
  });

  it('a session survives SIGTERM and kill -9 of the server: nothing lost, queued messages in order (60)', async () => {
    const session = ['-i', 'durable', '-c', '-q', '2', '-t', 'durable/#'];
    const first = new Subscriber([...at(), ...session]);
    await waitUntil(async () => {
      await publish(['-t', 'durable/ready', '-m', 'ready', '-q', '1']);
      return first.lines.length > 0;
    });
    await first.kill();
    let from = 0;
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await publish(['-q', '2', '-t', 'durable/x', '-l'], range(from, from + 100).join('\n'));
      await server.stop(signal);
      await server.start();
      const back = new Subscriber([...at(), ...session]);
      const numbers = (): string[] => back.lines.filter((line) => line !== 'ready');
      await waitUntil(() => numbers().length >= 100);
      expect(numbers()).toEqual(range(from, from + 100));
      await publish(['-q', '2', '-t', 'durable/x', '-m', 'live']);
      await waitUntil(() => back.lines.includes('live'));
      await back.kill('SIGINT');
      from += 100;
    }
  }, 60_000);

  it('says why it is refused', async () => {
    const result = await runCommand('mosquitto_pub', [
      ...at(),
      '-V',
      'mqttv5',
      '-q',
      '1',
      '-t',
      '$x/y',
      '-m',
      'x',
    ]);
    expect(`${result.stdout}${result.stderr}`).toContain('the topic name can not be published to');
  });
});
