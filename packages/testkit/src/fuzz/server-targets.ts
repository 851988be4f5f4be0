import { apiVersions, deleteGroups, fetch, listGroups } from '@robustmq/kafka-codec';
import { pingreqBytes, pingrespBytes } from '@robustmq/mqtt-codec';
import { adminRequest } from '../admin-request.ts';
import { KafkaClient } from '../kafka-client.ts';
import { batchOf, produceTo, requestBytes } from '../kafka-fixture.ts';
import { MqttClient } from '../mqtt-client.ts';
import { kafkaConnections, kafkaGrammar } from './kafka-traffic.ts';
import { clientConnections, mqttGrammar } from './mqtt-traffic.ts';
import { ServerUnderFuzz } from './server-under-fuzz.ts';
import { serverTarget } from './server-target.ts';
import type { FuzzTarget } from './target.ts';

const fuzzedTopic = 'fuzzed-topic';
const healthyTopic = 'healthy-topic';
const kept = new Set([fuzzedTopic, healthyTopic]);
const probeId = 0x5eed_5eed;
const probeAnswer = Buffer.from('5eed5eed', 'hex');
const sizes = { 'retention.bytes': '1048576', 'segment.bytes': '1048576' };

/** Both listeners of one server process, each with a healthy client; the last `stop` ends the server. */
export async function serverTargets(): Promise<FuzzTarget[]> {
  const under = await ServerUnderFuzz.start();
  let running = 2;
  const stop = async (): Promise<void> => {
    if (--running > 0) return;
    const said = await under.stop();
    if (said !== '') throw new Error(said);
  };
  try {
    return [await mqttTarget(under, stop), await kafkaTarget(under, stop)];
  } catch (error) {
    await under.stop();
    throw error;
  }
}

async function mqttTarget(under: ServerUnderFuzz, stop: () => Promise<void>): Promise<FuzzTarget> {
  const { mqtt: port } = under.server.ports;
  let exchanges = await MqttExchanges.connect(port);
  return serverTarget({
    name: 'mqtt server',
    under,
    port,
    grammar: mqttGrammar,
    traffic: ([3, 4, 5] as const).flatMap(clientConnections),
    probe: { request: pingreqBytes, answer: pingrespBytes },
    async connect() {
      exchanges.stop();
      exchanges = await MqttExchanges.connect(port);
    },
    exchange: () => exchanges.next(),
    tidy: () => clearRetained(port),
    async stop() {
      exchanges.stop();
      await stop();
    },
  });
}

/** Publishes one message after the other, and waits for its acknowledgement and for its delivery. */
class MqttExchanges {
  readonly #client: MqttClient;
  #packetId = 0;
  /** What is still to come of the exchange under way. */
  #missing = 0;
  #closed = false;
  #ended: (error: Error | null) => void = () => undefined;

  static async connect(port: number): Promise<MqttExchanges> {
    const { client } = await MqttClient.connect(port, 5, { clientId: 'healthy-client' });
    await client.subscribe('healthy/+', 1);
    return new MqttExchanges(client);
  }

  private constructor(client: MqttClient) {
    this.#client = client;
    client.listen(
      (packet) => {
        if (packet.type === 'publish') client.ack('puback', packet.packetId);
        if (packet.type !== 'publish' && (packet.type !== 'puback' || packet.reasonCode !== 0)) return;
        if (--this.#missing === 0) this.#ended(null);
      },
      () => {
        this.#closed = true;
        this.#ended(closed());
      },
    );
  }

  stop(): void {
    this.#client.drop();
  }

  next(): Promise<void> {
    if (this.#closed) return Promise.reject(closed());
    this.#packetId = (this.#packetId % 65_535) + 1;
    this.#missing = 2;
    return new Promise((resolve, reject) => {
      this.#ended = (error) => (error === null ? resolve() : reject(error));
      this.#client.publish({ topic: 'healthy/one', qos: 1, packetId: this.#packetId, payload: 'served' });
    });
  }
}

function closed(): Error {
  return new Error('the connection of the healthy client was closed');
}

/** Clears every retained message that a client can see. */
async function clearRetained(port: number): Promise<void> {
  const { client } = await MqttClient.connect(port, 5, { clientId: 'tidy-client' });
  await client.subscribe('#', 0);
  const retained = await client.settled();
  const topics = new Set(
    retained.flatMap((packet) => (packet.type === 'publish' && packet.retain ? packet.topic : [])),
  );
  for (const topic of topics) client.publish({ topic, retain: true });
  await client.settled();
  client.drop();
}

async function kafkaTarget(under: ServerUnderFuzz, stop: () => Promise<void>): Promise<FuzzTarget> {
  const { kafka: port } = under.server.ports;
  const create = (name: string): Promise<string> =>
    adminRequest(under.server, 'POST', '/api/v1/topics', { name, shards: 2, config: sizes });
  const { id } = JSON.parse(await create(fuzzedTopic)) as { id: string };
  await create(healthyTopic);
  const address = { host: '127.0.0.1', port };
  let client = await KafkaClient.connect(address);
  return serverTarget({
    name: 'kafka server',
    under,
    port,
    grammar: kafkaGrammar,
    traffic: kafkaConnections(fuzzedTopic, id),
    probe: { request: requestBytes(apiVersions, 0, {}, probeId), answer: probeAnswer },
    async connect() {
      client.close();
      client = await KafkaClient.connect(address);
    },
    async exchange() {
      const { errorCode, baseOffset } = await produceTo(client, healthyTopic, batchOf(['served']));
      if (errorCode !== 0) throw new Error(`produce says ${errorCode}`);
      const partition = { partition: 0, fetchOffset: baseOffset, partitionMaxBytes: 10_000 };
      const topics = [{ topic: healthyTopic, partitions: [partition] }];
      const { responses } = await client.send(fetch, 12, {
        maxWaitMs: 100,
        minBytes: 1,
        maxBytes: 10_000,
        topics,
      });
      const records = responses[0]?.partitions[0]?.records;
      if (!records || records.length === 0) throw new Error('fetch gives nothing of what was produced');
    },
    async tidy() {
      await under.deleteTopics(kept);
      const { groups } = await client.send(listGroups, 3, {});
      const groupsNames = groups.map(({ groupId }) => groupId);
      if (groupsNames.length > 0) await client.send(deleteGroups, 1, { groupsNames });
    },
    async stop() {
      client.close();
      await stop();
    },
  });
}
