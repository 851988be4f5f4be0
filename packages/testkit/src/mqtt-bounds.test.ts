import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import type { Kernel } from '@robustmq/kernel';
import { createMqttAdapter } from '@robustmq/mqtt';
import type { MqttAdapter, MqttLimits } from '@robustmq/mqtt';
import { afterEach, describe, expect, it } from 'vitest';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';
import { MqttClient } from './mqtt-client.ts';

let kernel: Kernel;
let adapter: MqttAdapter;

async function start(limits: Partial<MqttLimits>): Promise<number> {
  kernel = await startKernel(await createMemoryStorage());
  adapter = createMqttAdapter(
    { tcp: { hosts: ['127.0.0.1'], port: 0 }, webSocket: null, limits },
    { kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
  );
  await adapter.start();
  return adapter.tcp!.port;
}

afterEach(async () => {
  await adapter.stop();
  await kernel.stop();
});

const kept = (clientId: string) => ({ clientId, cleanStart: false, properties: { sessionExpiry: 60 } });
const quotaExceeded = 0x97;

describe('bounds of sessions', () => {
  it('semantics 8.1: kept sessions with a leading wildcard', async () => {
    const port = await start({ broadSessionsMax: 1 });
    const first = await MqttClient.connect(port, 5, kept('first'));
    expect(await first.client.subscribe(['#', '+/a', 'plain/#'], 1)).toEqual([1, 1, 1]);
    const second = await MqttClient.connect(port, 5, kept('second'));
    expect(await second.client.subscribe(['#', '+/a', 'plain/#'], 1)).toEqual([
      quotaExceeded,
      quotaExceeded,
      1,
    ]);
    // At QoS 0, and in a session that ends with its connection, nothing is held back.
    expect(await second.client.subscribe('#', 0, 2)).toEqual([0]);
    const passing = await MqttClient.connect(port, 5, { clientId: 'passing' });
    expect(await passing.client.subscribe('#', 2)).toEqual([2]);
    first.client.send({ type: 'unsubscribe', packetId: 9, filters: ['#', '+/a'], properties: {} });
    await first.client.next('unsuback');
    expect(await second.client.subscribe('+/a', 1, 3)).toEqual([1]);
    // The session that ends makes room, the one that only disconnects does not.
    await second.client.disconnect();
    expect(await first.client.subscribe('#', 1, 10)).toEqual([quotaExceeded]);
    const again = await MqttClient.connect(port, 5, { clientId: 'second', cleanStart: true });
    expect(again.connack.sessionPresent).toBe(false);
    expect(await first.client.subscribe('#', 1, 11)).toEqual([1]);
  });

  it('subscriptions of one client', async () => {
    const port = await start({ subscriptionsMax: 2 });
    const { client } = await MqttClient.connect(port, 5);
    expect(await client.subscribe(['a', 'b'], 1)).toEqual([1, 1]);
    expect(await client.subscribe(['c', 'a'], 0, 2)).toEqual([quotaExceeded, 0]);
  });

  it('connections', async () => {
    const port = await start({ connectionsMax: 1 });
    await MqttClient.connect(port, 4, { clientId: 'one' });
    const refused = await MqttClient.open(port, 4);
    await refused.whenClosed();
  });
});
