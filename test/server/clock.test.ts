import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MqttClient, RecordLog, ServerProcess } from '@robustmq/testkit';
import { describe, expect, it } from 'vitest';
import { FaultControl } from './fault-control.ts';
import { Load } from './load.ts';

const hourMs = 3_600_000;
const libfaketime = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1';

/** A server's wall clock in the hands of a test. */
interface ShiftedClock extends Disposable {
  readonly env: Readonly<Record<string, string>>;
  shiftClock(server: ServerProcess, ms: number): void;
}

/** Shifts the wall clock below Node, for every thread of the process. */
class FakeTime implements ShiftedClock {
  readonly #folder = mkdtempSync(join(tmpdir(), 'robustmq-faketime-'));

  constructor() {
    this.shiftClock(null, 0);
  }

  get env(): Readonly<Record<string, string>> {
    return {
      LD_PRELOAD: libfaketime,
      FAKETIME_TIMESTAMP_FILE: this.#path,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    };
  }

  shiftClock(_server: ServerProcess | null, ms: number): void {
    writeFileSync(this.#path, `${ms < 0 ? '' : '+'}${ms / 1000}\n`);
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #path(): string {
    return join(this.#folder, 'faketime');
  }
}

const kinds = [
  { name: 'in the process', missing: null, create: (): ShiftedClock => new FaultControl() },
  {
    name: 'libfaketime',
    missing: existsSync(libfaketime) ? null : 'not installed',
    create: (): ShiftedClock => new FakeTime(),
  },
];

describe('a wall clock that jumps by an hour under load, forward and back', () => {
  for (const { name, missing, create } of kinds) {
    it.skipIf(missing !== null)(
      `${name}${missing === null ? '' : ` (${missing})`}`,
      async () => {
        using clock = create();
        await using server = await ServerProcess.start({ env: clock.env, startTimeoutMs: 120_000 });
        const load = await Load.start(server);
        await leave(server, 'half-an-hour', 1800);
        const watcher = await MqttClient.connect(server.ports.mqtt, 5, { clientId: 'watcher', keepAlive: 0 });
        await watcher.client.subscribe('will', 1);
        const began = Date.now();
        for (const shift of [hourMs, 0, -hourMs, 0]) {
          clock.shiftClock(server, shift);
          await load.moreAcknowledged(200);
        }
        clock.shiftClock(server, hourMs);
        await load.moreAcknowledged(200);
        // Nobody lost a connection, the group kept its member, the session and its will wait.
        for (const reader of load.readers) expect(reader.sessionPresent, reader.name).toEqual([false]);
        expect(load.joins).toBeLessThanOrEqual(1);
        expect(await watcher.client.settled(), 'wills').toEqual([]);
        expect(await present(server, 'half-an-hour')).toBe(true);
        // The same process again, an hour back: what it finds comes from its future.
        await server.stop();
        await server.start();
        clock.shiftClock(server, 0);
        await load.moreAcknowledged(200);
        expect(await load.finish()).toEqual([]);
        await expectTimestamps(server, began);
        await load.close();
        watcher.client.drop();
      },
      120_000,
    );
  }
});

/** A session that waits for its client, with a will that is due later. */
async function leave(server: ServerProcess, clientId: string, seconds: number): Promise<void> {
  const properties = { willDelay: seconds };
  const will = { topic: 'will', payload: Buffer.from(clientId), qos: 1, retain: false, properties } as const;
  const { client } = await MqttClient.connect(server.ports.mqtt, 5, {
    clientId,
    will,
    properties: { sessionExpiry: seconds },
  });
  client.drop();
}

async function present(server: ServerProcess, clientId: string): Promise<boolean> {
  const { client, connack } = await MqttClient.connect(server.ports.mqtt, 5, {
    clientId,
    cleanStart: false,
    properties: { sessionExpiry: 1800 },
  });
  await client.disconnect();
  return connack.sessionPresent;
}

/** Every record is still there from the first on, under an offset of its own, and its time is one of the three hours. */
async function expectTimestamps(server: ServerProcess, began: number): Promise<void> {
  const log = await RecordLog.connect(server.ports.kafka);
  const next = new Map<number, number>();
  const hours = new Set<number>();
  for (const { partition, offset, timestamp } of await log.read('mqtt')) {
    expect(offset).toBe(next.get(partition) ?? 0);
    next.set(partition, offset + 1);
    hours.add(Math.round((timestamp - began) / hourMs));
  }
  log.close();
  expect([...hours].sort()).toEqual([-1, 0, 1]);
}
