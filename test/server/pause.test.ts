import { setTimeout as delay } from 'node:timers/promises';
import { MqttClient, ServerProcess, waitUntil } from '@robustmq/testkit';
import { describe, expect, it } from 'vitest';
import { FaultControl } from './fault-control.ts';
import { Load } from './load.ts';

const pauseMs = 10_000;
/** Two thirds of the pause: silence for one and a half of it would end a connection in the middle. */
const keepAlive = 4;
const pingEveryMs = 1000;
const pingreq = Buffer.from([0xc0, 0]);

describe('a server that stands still for 10 s under load', () => {
  it.each(['SIGSTOP', 'a blocked event loop'])(
    '%s: loses nothing, and ends no session or connection that was not silent',
    async (how) => {
      using control = new FaultControl();
      await using server = await ServerProcess.start({ env: control.env, startTimeoutMs: 120_000 });
      const load = await Load.start(server);
      const device = await Pinging.open(server);
      const watcher = await MqttClient.connect(server.ports.mqtt, 5, { clientId: 'watcher', keepAlive: 0 });
      await watcher.client.subscribe('will', 1);

      if (how === 'SIGSTOP') {
        process.kill(server.pid, 'SIGSTOP');
        await delay(pauseMs);
        process.kill(server.pid, 'SIGCONT');
      } else {
        control.stall(server, pauseMs);
        await delay(pauseMs);
      }

      await load.moreAcknowledged(400, 60_000);
      await waitUntil(() => device.answered >= device.sent - 1, { what: 'all pings to be answered' });
      // Silence is looked for meanwhile.
      await delay(2000);
      expect(device.client.closed).toBe(false);
      expect(await watcher.client.settled(), 'wills').toEqual([]);
      expect(await load.finish()).toEqual([]);
      for (const { name, sessionPresent } of load.readers) {
        expect(sessionPresent, name).toEqual([false, ...sessionPresent.slice(1).map(() => true)]);
      }
      device.stop();
      await load.close();
      watcher.client.drop();
    },
    120_000,
  );
});

/** A device with a will that pings, whether it is answered or not. */
class Pinging {
  readonly client: MqttClient;
  sent = 0;
  answered = 0;
  readonly #timer: NodeJS.Timeout;

  private constructor(client: MqttClient) {
    this.client = client;
    client.listen(
      () => this.answered++,
      () => undefined,
    );
    this.#timer = setInterval(() => {
      client.sendBytes(pingreq);
      this.sent++;
    }, pingEveryMs);
  }

  static async open(server: ServerProcess): Promise<Pinging> {
    const will = {
      topic: 'will',
      payload: Buffer.from('gone'),
      qos: 1,
      retain: false,
      properties: {},
    } as const;
    const { client } = await MqttClient.connect(server.ports.mqtt, 5, {
      clientId: 'device',
      keepAlive,
      will,
    });
    return new Pinging(client);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.client.drop();
  }
}
