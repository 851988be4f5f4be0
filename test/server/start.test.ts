import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePorts, MqttClient, runRobustmq, ServerProcess, waitUntil } from '@robustmq/testkit';
import type { ServerExit } from '@robustmq/testkit';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

// Real processes, on a machine that other tests use too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const ok = 0;
const failed = 1;
const usage = 2;
/** Other tests run beside this one; a machine at rest needs less than 1 s (the goal is 2 s; `bench` measures it). */
const restartMsMax = 5000;

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'robustmq-start-'));
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** A start that must end by itself; its data folder is never made where the configuration is wrong. */
function start(config: string, env: Record<string, string> = {}): Promise<ServerExit> {
  const path = join(folder, 'robustmq.yaml');
  writeFileSync(path, config);
  return runRobustmq(['start', '--config', path], { cwd: folder, env });
}

const isRoot = process.getuid?.() === 0;

/** Whether every folder on the way is open to all users. */
function othersMayRead(path: string): boolean {
  for (let at = path; ; at = dirname(at)) {
    if ((statSync(at).mode & 0o005) !== 0o005) return false;
    if (at === dirname(at)) return true;
  }
}

describe('a start that can not be', () => {
  it('names the unknown key', async () => {
    const exit = await start('listeners:\n  kafka:\n    prot: 9092\n');
    expect(exit).toMatchObject({ code: usage, stdout: '' });
    expect(exit.stderr).toContain('prot');
    expect(exit.stderr).toContain('listeners.kafka');
    expect(exit.stderr).not.toContain('    at ');
  });

  it('names the unknown environment variable', async () => {
    const exit = await start('', { ROBUSTMQ_LISTENERS__KAFKA__PROT: '1' });
    expect(exit.code).toBe(usage);
    expect(exit.stderr).toContain('ROBUSTMQ_LISTENERS__KAFKA__PROT');
  });

  it('names the key of a bad value', async () => {
    const exit = await start('admin: { port: 99999 }');
    expect(exit.code).toBe(usage);
    expect(exit.stderr).toContain('admin.port');
    const small = await start('storage: { walBytes: 1 }');
    expect(small.code).toBe(usage);
    expect(small.stderr).toContain('storage.walBytes');
  });

  it('says which file is no YAML, or is not there', async () => {
    const exit = await start('listeners: [');
    expect(exit.code).toBe(usage);
    expect(exit.stderr).toContain('robustmq.yaml');
    const missing = await runRobustmq(['start', '--config', join(folder, 'missing.yaml')]);
    expect(missing.code).toBe(usage);
    expect(missing.stderr).toContain('missing.yaml');
  });

  it('opens no listener to other machines unless that is asked for', async () => {
    const exit = await start('listeners: { kafka: { host: 0.0.0.0, advertised: broker.example } }');
    expect(exit.code).toBe(usage);
    expect(exit.stderr).toContain('allowAnonymous');
  });

  it('semantics 9.1: asks what to advertise for a wildcard', async () => {
    const exit = await start("allowAnonymous: true\nlisteners: { kafka: { host: '::' } }");
    expect(exit.code).toBe(usage);
    expect(exit.stderr).toContain('listeners.kafka.advertised');
  });

  it('prints how it is used for an unknown command or option', async () => {
    const unknown = await runRobustmq(['strat']);
    expect(unknown.code).toBe(usage);
    expect(unknown.stderr).toContain('strat');
    const exit = await runRobustmq(['start', '--confg', 'x']);
    expect(exit.code).toBe(usage);
    expect(exit.stderr).toContain('confg');
  });

  it('names the port that is in use, and leaves nothing behind', async () => {
    const [port, admin, other] = await freePorts(3);
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(port!, '127.0.0.1', resolve));
    const dataDir = join(folder, 'port-in-use');
    const config = (kafka: number): string =>
      JSON.stringify({
        dataDir,
        listeners: { mqtt: { port: 0 }, mqttWebSocket: { port: 0 }, kafka: { port: kafka } },
        admin: { port: admin },
      });
    const exit = await start(config(port!));
    expect(exit).toMatchObject({ code: failed, stdout: '' });
    expect(exit.stderr).toContain(`127.0.0.1:${port} of listener kafka is in use`);
    expect(exit.stderr).toContain('listeners.kafka.port');
    await new Promise<void>((resolve) => holder.close(() => resolve()));
    // The folder is free again and whole.
    const again = new ServerProcess(
      folder,
      { mqtt: 0, mqttWebSocket: 0, kafka: other!, admin: admin! },
      {
        config: { dataDir },
      },
    );
    await again.start();
    expect((await again.stop()).code).toBe(ok);
  });

  it('says why the data folder can not be used', async () => {
    const file = join(folder, 'a-file');
    writeFileSync(file, '');
    const exit = await start(`dataDir: ${file}`);
    expect(exit).toMatchObject({ code: failed, stdout: '' });
    expect(exit.stderr).toContain(`${file} can not be used`);
    expect(exit.stderr).toContain('is a file');
  });

  // Root may do everything, so there the server runs as nobody, who has to be able to read it.
  it.skipIf(isRoot && !othersMayRead(import.meta.dirname))(
    'says that the data folder may not be read or written',
    async () => {
      const closed = join(folder, 'closed');
      mkdirSync(closed, { mode: 0o500 });
      chmodSync(folder, 0o755);
      const uid = isRoot ? 65_534 : undefined;
      const exit = await runRobustmq(['start'], {
        cwd: '/',
        env: { ROBUSTMQ_DATA_DIR: closed },
        ...(uid === undefined ? {} : { uid }),
      });
      expect(exit).toMatchObject({ code: failed, stdout: '' });
      expect(exit.stderr).toContain(`${closed} can not be used: this user may not read and write it`);
    },
  );
});

describe('the running server', () => {
  it('semantics 9.1, 9.6: prints its listeners and lines to try, and serves on both loopback addresses', async () => {
    await using server = await ServerProcess.start();
    const hosts = ['127.0.0.1'];
    const ipv6 = Object.values(networkInterfaces()).some((each) =>
      each?.some(({ address }) => address === '::1'),
    );
    if (ipv6) hosts.push('[::1]');
    for (const host of hosts) {
      const answer = await fetch(`http://${host}:${server.ports.admin}/readyz`);
      expect(await answer.json()).toEqual({ status: 'ready' });
    }
    const { stdout, code } = await server.stop();
    expect(code).toBe(ok);
    expect(stdout).toContain(server.dataDir);
    for (const host of hosts) expect(stdout).toContain(`${host}:${server.ports.kafka}`);
    expect(stdout).toContain(`kcat -b 127.0.0.1:${server.ports.kafka} -C -t mqtt -f '%k %s\\n'\n`);
  });

  it('storage 2.7: keeps a second process off its data folder', async () => {
    await using server = await ServerProcess.start();
    const exit = await start(`dataDir: ${server.dataDir}`);
    expect(exit).toMatchObject({ code: failed, stdout: '' });
    expect(exit.stderr).toContain('in use by another process');
    expect((await fetch(`http://${server.address('admin')}/healthz`)).status).toBe(200);
  });

  it('refuses the data folder of another node', async () => {
    await using server = await ServerProcess.start();
    await server.stop();
    const exit = await start(`{ dataDir: ${server.dataDir}, nodeId: 7 }`);
    expect(exit.code).toBe(usage);
    expect(exit.stderr).toContain('belongs to node 1');
  });

  it('stops on SIGINT and SIGTERM with clients connected, and is soon up again', async () => {
    await using server = await ServerProcess.start();
    const times: number[] = [];
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const sockets = Object.values(server.ports).map((port) => connect(port, '127.0.0.1'));
      await Promise.all(sockets.map((socket) => once(socket, 'connect')));
      const closed = sockets.map((socket) =>
        once(
          socket.resume().on('error', () => undefined),
          'close',
        ),
      );
      const exit = await server.stop(signal);
      expect(exit).toMatchObject({ code: ok, signal: null });
      await Promise.all(closed);
      await server.start();
      times.push(server.readyMs);
    }
    expect(Math.min(...times)).toBeLessThan(restartMsMax);
  });

  it.each(['SIGTERM', 'SIGKILL'] as const)(
    'mqtt defect 60: a kept session is present after %s, with its queued messages and its new ones',
    async (signal) => {
      await using server = await ServerProcess.start();
      const { mqtt } = server.ports;
      const kept = { clientId: 'kept', cleanStart: false, properties: { sessionExpiry: 600 } };
      const first = await MqttClient.connect(mqtt, 5, kept);
      await first.client.subscribe('kept/#', 1);
      first.client.drop();
      const before = await MqttClient.connect(mqtt, 5);
      const publish = (client: MqttClient, payload: string): Promise<number> =>
        client.publishAcknowledged({ topic: 'kept/a', payload });
      for (const payload of ['1', '2', '3']) expect(await publish(before.client, payload)).toBe(0);
      await server.stop(signal);
      await server.start();
      const { client, connack } = await MqttClient.connect(mqtt, 5, kept);
      expect(connack.sessionPresent).toBe(true);
      expect(await client.receiveTexts(3)).toEqual(['1', '2', '3']);
      const after = await MqttClient.connect(mqtt, 5);
      expect(await publish(after.client, '4')).toBe(0);
      expect(await client.receiveTexts(1)).toEqual(['4']);
      client.drop();
      after.client.drop();
    },
  );

  it('takes a signal that comes twice at once for one', async () => {
    await using server = await ServerProcess.start();
    process.kill(server.pid, 'SIGINT');
    expect((await server.stop('SIGINT')).code).toBe(ok);
  });

  it('ends with code 1 when it does not stop in time, or is told a second time', async () => {
    for (const [stopTimeoutMs, again] of [
      [200, false],
      [15_000, true],
    ] as const) {
      await using server = await ServerProcess.start({ config: { stopTimeoutMs } });
      // Nobody speaks HTTP on it, so that the listener waits some seconds for it.
      const socket = connect(server.ports.mqttWebSocket, '127.0.0.1').on('error', () => undefined);
      await once(socket, 'connect');
      const since = performance.now();
      const stopping = server.stop('SIGTERM');
      if (again) {
        await delay(1200);
        process.kill(server.pid, 'SIGTERM');
      }
      const exit = await stopping;
      expect(exit.code).toBe(failed);
      expect(exit.stderr.includes('did not stop in time')).toBe(!again);
      expect(performance.now() - since).toBeLessThan(3000);
      socket.destroy();
      await server.start();
    }
  });

  it.runIf(existsSync('/dev/full'))('goes on when its output can not be written', async () => {
    await using server = await ServerProcess.start();
    await server.stop();
    const full = openSync('/dev/full', 'w');
    const running = runRobustmq(['start', '--config', server.configPath], { output: full });
    closeSync(full);
    const ready = async (): Promise<boolean> =>
      (await fetch(`http://${server.address('admin')}/readyz`).catch(() => null))?.status === 200;
    try {
      await waitUntil(ready);
    } finally {
      process.kill(running.pid, 'SIGTERM');
    }
    expect((await running).code).toBe(ok);
  });

  it('is soon up again after kill -9', async () => {
    await using server = await ServerProcess.start();
    const times: number[] = [];
    for (let run = 0; run < 2; run++) {
      const exit = await server.kill();
      expect(exit.signal).toBe('SIGKILL');
      await server.start();
      times.push(server.readyMs);
    }
    expect(Math.min(...times)).toBeLessThan(restartMsMax);
  });
});
