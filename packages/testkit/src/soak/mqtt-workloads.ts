import mqtt, { Store } from 'mqtt';
import type { IClientOptions, MqttClient } from 'mqtt';
type QoS = 0 | 1 | 2;
import { drained, pause, repeat } from './workload.ts';
import type { LoadContext, Workload } from './workload.ts';

const keptSeconds = 3600;
const publishPauseMs = 20;
const answerMs = 25_000;

function options({ server }: LoadContext, more: IClientOptions): [string, IClientOptions] {
  return [`mqtt://${server.address('mqtt')}`, { protocolVersion: 5, reconnectPeriod: 500, ...more }];
}

/** A client that is connected and counts what it gets of subjects `soak/...` in the ledger. */
async function open(context: LoadContext, reader: string, more: IClientOptions): Promise<MqttClient> {
  context.expect(reader);
  const client = mqtt.connect(...options(context, more));
  client.on('message', (topic, payload) => {
    context.ledger.give(reader, topic, Number(payload.toString().split(' ', 1)[0]));
    context.progress(reader);
  });
  client.on('error', (error) => {
    // A client that cuts its connection off may have been writing.
    if (!client.disconnecting) context.problem(`${reader}: ${error.message}`);
  });
  await within(new Promise<void>((resolve) => client.once('connect', () => resolve())), 'CONNACK');
  return client;
}

/** Rejects when an answer takes so long that its client counts as stuck anyway. */
async function within<T>(answer: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${answerMs} ms`)), answerMs);
  });
  return await Promise.race([answer, late]).finally(() => clearTimeout(timer));
}

/** Publishes numbers at a QoS; what is acknowledged reaches a client that stays connected. */
function publishing(qos: QoS): Workload {
  const subject = `soak/qos${qos}`;
  return async (context) => {
    const { ledger, signal } = context;
    const reader = `mqtt-reader-${qos}`;
    if (qos > 0) ledger.read(reader, subject, { once: qos === 2 });
    const readingClient = await open(context, reader, { clientId: reader });
    await readingClient.subscribeAsync(subject, { qos });
    const writer = `mqtt-writer-${qos}`;
    const client = await open(context, writer, { clientId: writer });
    const properties = { userProperties: { number: 'of a soak' }, contentType: 'text/plain' };
    let number = 0;
    await repeat(writer, context, async () => {
      const batch = Array.from({ length: 5 }, () => number++);
      await within(
        Promise.all(
          batch.map(async (each) => {
            await client.publishAsync(subject, `${each} ${'x'.repeat(100)}`, { qos, properties });
            if (qos > 0) ledger.acknowledge(subject, each);
          }),
        ),
        'acknowledgement',
      );
      await pause(publishPauseMs, signal);
    });
    await drained(context, reader);
    await Promise.all([client.endAsync(), readingClient.endAsync()]);
  };
}

/** A session that is kept goes offline and comes back, again and again; it misses nothing. */
const comingAndGoing: Workload = async (context) => {
  const reader = 'mqtt-kept-session';
  // A client's half of the session; without it QoS 2 has no once.
  const stores = { incomingStore: new Store({ clean: false }), outgoingStore: new Store({ clean: false }) };
  let client: MqttClient | null = null;
  const online = async (): Promise<MqttClient> => {
    client = await open(context, reader, {
      clientId: reader,
      clean: false,
      ...stores,
      properties: { sessionExpiryInterval: keptSeconds, receiveMaximum: 50 },
    });
    return client;
  };
  const first = await online();
  context.ledger.read(reader, 'soak/qos1');
  context.ledger.read(reader, 'soak/qos2', { once: true });
  await first.subscribeAsync('soak/+', { qos: 2 });
  await repeat(reader, context, async () => {
    const current = client ?? (await online());
    await pause(4000, context.signal);
    if (context.signal.aborted) return;
    // Half of the times without a word.
    if (Math.random() < 0.5) await current.endAsync(true);
    else await current.endAsync();
    client = null;
    await pause(3000, context.signal);
  });
  client ??= await online();
  await drained(context, reader);
  await client.endAsync();
};

/** Retained messages change and are cleared; clients come and read them. */
const retaining: Workload = async (context) => {
  const writer = await open(context, 'mqtt-retained-reader', { clientId: 'mqtt-retainer' });
  let round = 0;
  await repeat('mqtt-retained-reader', context, async () => {
    const name = `retained/${round++ % 50}`;
    await within(writer.publishAsync(name, `0 ${round}`, { qos: 1, retain: true }), 'PUBACK');
    const client = await open(context, 'mqtt-retained-reader', { clientId: `mqtt-retained-${round % 10}` });
    const got = new Promise<void>((resolve) => {
      client.on('message', (topic, payload) => {
        if (topic === name && payload.toString() === `0 ${round}`) resolve();
      });
    });
    await client.subscribeAsync('retained/#', { qos: 1 });
    await within(got, 'retained message');
    await client.endAsync();
    if (round % 2 === 0) await within(writer.publishAsync(name, '', { qos: 1, retain: true }), 'PUBACK');
    await pause(200, context.signal);
  });
  await writer.endAsync();
};

/** Clients die without a word; their wills come. */
const dying: Workload = async (context) => {
  const watcher = await open(context, 'mqtt-will-watcher', { clientId: 'mqtt-will-watcher' });
  let come: (payload: string) => void = () => undefined;
  watcher.on('message', (_topic, payload) => come(payload.toString()));
  await watcher.subscribeAsync('wills/#', { qos: 1 });
  let round = 0;
  await repeat('mqtt-mortal', context, async () => {
    const text = `0 will ${round++}`;
    const will = { topic: `wills/${round % 20}`, payload: Buffer.from(text), qos: 1 as const };
    const client = await open(context, 'mqtt-mortal', {
      clientId: `mqtt-mortal-${round % 5}`,
      reconnectPeriod: 0,
      will,
    });
    const published = new Promise<void>((resolve) => {
      come = (payload) => {
        if (payload === text) resolve();
      };
    });
    client.stream.destroy();
    await within(published, 'will');
    await client.endAsync(true);
    await pause(300, context.signal);
  });
  await watcher.endAsync();
};

/** Everything that mqtt.js does. */
export const mqttWorkloads: readonly Workload[] = [
  publishing(0),
  publishing(1),
  publishing(2),
  comingAndGoing,
  retaining,
  dying,
];
