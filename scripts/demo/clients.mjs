// The real clients, each with the one thing that the scenes need: to know when what they wait for is there.
import { setTimeout as delay } from 'node:timers/promises';
import { Kafka, logLevel } from 'kafkajs';
import mqtt from 'mqtt';

const waitMs = 15_000;

/** Things that come one by one, and a wait for a number of them. */
export class Inbox {
  items = [];

  /** Resolves to the first `count` things. */
  async first(count, what) {
    const deadline = performance.now() + waitMs;
    while (this.items.length < count) {
      if (performance.now() > deadline) throw new Error(`${what}: ${this.items.length} of ${count} came`);
      await delay(10);
    }
    return this.items.slice(0, count);
  }
}

/** An MQTT.js client; with a `clientId` and `clean: false` its session outlives the connection. */
export async function connectMqtt(server, options = {}) {
  const inbox = new Inbox();
  const client = mqtt.connect(`mqtt://${server.address('mqtt')}`, {
    protocolVersion: 5,
    reconnectPeriod: 100,
    ...options,
  });
  let sessionPresent = false;
  // Before the connection: a resumed session is given its messages at once.
  client.on('connect', (connack) => (sessionPresent = connack.sessionPresent));
  client.on('error', () => undefined);
  client.on('message', (topic, payload, { qos, retain, properties = {} }) => {
    inbox.items.push({ topic, payload: payload.toString(), qos, retain, properties });
  });
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('MQTT.js could not connect')), waitMs);
    client.once('connect', () => {
      clearTimeout(timer);
      resolve();
    });
  });
  return { client, inbox, sessionPresent: () => sessionPresent };
}

export function kafkaOf(server) {
  const retry = { initialRetryTime: 50, maxRetryTime: 500, retries: 20 };
  return new Kafka({
    clientId: 'demo',
    brokers: [server.address('kafka')],
    logLevel: logLevel.NOTHING,
    retry,
  });
}

/** A kafkajs consumer in a group; `stop` commits what was handled and leaves. */
export async function joinGroup(kafka, groupId, topic) {
  const inbox = new Inbox();
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve));
  await consumer.run({
    eachMessage: async ({ partition, message }) => {
      const { offset, key, value, headers } = message;
      inbox.items.push({ partition, offset, key: text(key), value: text(value), headers });
    },
  });
  await joined;
  return { inbox, stop: () => consumer.disconnect() };
}

/** Produces with acks=all and idempotence. */
export async function produce(kafka, topic, messages) {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  await producer.send({ topic, messages });
  await producer.disconnect();
}

export function text(bytes) {
  return bytes === null || bytes === undefined ? null : bytes.toString();
}
