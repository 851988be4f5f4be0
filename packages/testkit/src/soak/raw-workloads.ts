import { fetch } from '@robustmq/kafka-codec';
import { adminRequest } from '../admin-request.ts';
import { KafkaClient } from '../kafka-client.ts';
import { batchOf, produceTo } from '../kafka-fixture.ts';
import { MqttClient } from '../mqtt-client.ts';
import { drained, pause, repeat } from './workload.ts';
import type { Workload } from './workload.ts';

const topic = 'soak-rate';
const sizes = { 'retention.bytes': '8388608', 'segment.bytes': '1048576' };

/** Large batches at a rate at which retention has to work, and reads of what was just written. */
const batches: Workload = async (context) => {
  const { server, signal } = context;
  await adminRequest(server, 'POST', '/api/v1/topics', { name: topic, shards: 2, config: sizes });
  const client = await KafkaClient.connect({ host: '127.0.0.1', port: server.ports.kafka });
  const values = Array.from({ length: 64 }, () => 'r'.repeat(1000));
  await repeat('raw-kafka', context, async () => {
    const { errorCode, baseOffset } = await produceTo(client, topic, batchOf(values));
    if (errorCode !== 0) throw new Error(`produce says ${errorCode}`);
    const partition = { partition: 0, fetchOffset: baseOffset, partitionMaxBytes: 100_000 };
    const topics = [{ topic, partitions: [partition] }];
    const answer = await client.send(fetch, 12, { maxWaitMs: 100, minBytes: 1, maxBytes: 100_000, topics });
    if (answer.responses[0]?.partitions[0]?.errorCode !== 0) throw new Error('fetch is refused');
    await pause(50, signal);
  });
  client.close();
};

/** Hundreds of publishes at QoS 1 in one turn, each to a receiver at QoS 1 which acknowledges it. */
const bursts: Workload = async (context) => {
  const { ledger, server, signal } = context;
  const name = 'rate/bursts';
  const reader = 'raw-mqtt-reader';
  ledger.read(reader, name);
  context.expect(reader);
  const { client: receiver } = await MqttClient.connect(server.ports.mqtt, 5, { clientId: reader });
  await receiver.subscribe(name, 1);
  receiver.listen(
    (packet) => {
      if (packet.type !== 'publish') return;
      receiver.ack('puback', packet.packetId);
      ledger.give(reader, name, Number(Buffer.from(packet.payload).toString()));
      context.progress(reader);
    },
    () => undefined,
  );
  const { client } = await MqttClient.connect(server.ports.mqtt, 4, { clientId: 'raw-mqtt-writer' });
  let number = 0;
  await repeat('raw-mqtt-writer', context, async () => {
    const first = number;
    for (let each = 1; each <= 200; each++) {
      client.publish({ topic: name, qos: 1, packetId: each, payload: `${number++}` });
    }
    for (let each = 0; each < 200; each++) {
      const { packetId } = await client.next('puback');
      ledger.acknowledge(name, first + packetId - 1);
    }
    await pause(200, signal);
  });
  await drained(context, reader);
  client.drop();
  receiver.drop();
};

/** What needs a rate that libraries do not have. */
export const rawWorkloads: readonly Workload[] = [batches, bursts];
