import { Kafka, logLevel, CompressionTypes } from 'kafkajs';
import { ServerProcess } from '@robustmq/testkit';
import { describe, expect, it } from 'vitest';

describe('kafkajs', () => {
  it('runs', async () => {
    await using server = await ServerProcess.start();
    const kafka = new Kafka({ brokers: [server.address('kafka')], logLevel: logLevel.NOTHING });
    const producer = kafka.producer();
    await producer.connect();
    const r = await producer.send({
      topic: 'orders',
      compression: CompressionTypes.GZIP,
      messages: [{ key: 'a', value: '1' }],
    });
    expect(r[0]!.errorCode).toBe(0);
    await producer.disconnect();
  });
});
