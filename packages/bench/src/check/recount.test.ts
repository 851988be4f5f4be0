import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Fault } from '../fault.ts';
import type { Endpoint } from '../job.ts';
import { ensureTopic } from '../loads/kafka-link.ts';
import { ProduceLane } from '../loads/produce-lane.ts';
import { createEchoKafka } from '../peers/echo-kafka.ts';
import { markPayload } from '../wire/payload-mark.ts';
import { recordBatch } from '../wire/record-batch.ts';
import { mqttEnds, recount } from './recount.ts';

describe('recount', () => {
  const server = createEchoKafka();
  let endpoint: Endpoint;

  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    endpoint = { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
  });

  afterAll(() => server.close());

  /** Writes one batch of three records with this value to each partition. */
  async function write(topic: string, value: Buffer, partitions: number[]): Promise<void> {
    const fault = new Fault();
    await ensureTopic(endpoint, topic, partitions.length);
    const batch = recordBatch(value, 3, 0);
    const lane = await ProduceLane.open(
      { endpoint, topic, batch, recordsPerBatch: 3, inFlight: 1, partitions },
      fault,
    );
    fault.close();
    lane.close();
  }

  it('counts every offset below the acknowledged end, in each partition', async () => {
    await write('t', Buffer.from('v'), [0, 1]);
    const of = (...ends: number[]) => recount(endpoint, { partitions: { topic: 't', ends } }, []);
    expect(await of(3, 3)).toEqual({ acknowledged: 6, found: 6 });
    expect(await of(3, 4)).toEqual({ acknowledged: 7, found: 6 });
  });

  it('counts a message by its tag, pair and number, once', async () => {
    const payload = Buffer.alloc(16);
    markPayload(payload, { pair: 1, tag: 77 });
    payload.writeUInt32BE(2);
    await write('mqtt', payload, [0, 1]);
    expect(await mqttEnds(endpoint)).toEqual([3, 3]);
    const of = (tag: number, counts: number[], from = [0, 0]) =>
      recount(endpoint, { pairs: { tag, counts } }, from);
    expect(await of(77, [0, 3])).toEqual({ acknowledged: 3, found: 1 });
    expect(await of(78, [0, 3])).toEqual({ acknowledged: 3, found: 0 });
    expect(await of(77, [3, 2])).toEqual({ acknowledged: 5, found: 0 });
    expect(await of(77, [0, 3], [3, 3])).toEqual({ acknowledged: 3, found: 0 });
  });
});
