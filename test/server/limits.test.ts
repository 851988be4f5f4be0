import { once } from 'node:events';
import { connect } from 'node:net';
import { runCommand, hasCommand, ServerProcess } from '@robustmq/testkit';
import { describe, expect, it, vi } from 'vitest';

// Real processes, on a machine that other tests use too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const kcat = hasCommand('kcat', ['-V']);

/** Connects and says nothing until the server closes. */
async function closed(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  await once(
    socket.resume().on('error', () => undefined),
    'close',
  );
}

describe('limits of the configuration', () => {
  it('reach the listeners', async () => {
    await using server = await ServerProcess.start({
      config: { kafka: { connectionsMax: 1 }, mqtt: { connectionsMax: 1, connectTimeoutMs: 200 } },
    });
    const first = connect(server.ports.kafka, '127.0.0.1');
    await once(first, 'connect');
    await closed(server.ports.kafka);
    first.destroy();
    // A client that says nothing is let go of long before the usual ten seconds.
    const since = performance.now();
    await closed(server.ports.mqtt);
    expect(performance.now() - since).toBeLessThan(5000);
  });

  it.skipIf(!kcat)(`reach topics that use makes${kcat ? '' : ' (kcat is not installed)'}`, async () => {
    await using server = await ServerProcess.start({ config: { topics: { autoCreateShards: 7 } } });
    const args = ['-b', server.address('kafka'), '-P', '-t', 'made'];
    expect((await runCommand('kcat', args, { input: 'x\n' })).code).toBe(0);
    const topics = `http://${server.address('admin')}/api/v1/topics`;
    expect(await (await fetch(`${topics}/made`)).json()).toMatchObject({ shards: 7 });
    expect(await (await fetch(`${topics}/mqtt`)).json()).toMatchObject({ shards: 16 });
  });
});
