import type { Acknowledged, Endpoint } from '../job.ts';
import { LogReader } from '../loads/log-reader.ts';
import { readMark } from '../wire/payload-mark.ts';
import { eachValue } from '../wire/record-batch.ts';

/** The topic that messages of MQTT clients are stored in. */
const mqttTopic = 'mqtt';

export interface Recount {
  readonly acknowledged: number;
  /** Of these, what the log holds. */
  readonly found: number;
}

/** Where each partition of the MQTT topic ends now: a later recount begins there. */
export async function mqttEnds(endpoint: Endpoint): Promise<number[]> {
  const reader = await LogReader.open(endpoint);
  try {
    const ends: number[] = [];
    const partitions = await reader.partitions(mqttTopic);
    for (let partition = 0; partition < partitions; partition++) {
      ends.push(await reader.offset(mqttTopic, partition, -1));
    }
    return ends;
  } finally {
    reader.close();
  }
}

/** Reads the log and counts what of the acknowledged is in it; of MQTT only behind `from`, by partition. */
export async function recount(
  endpoint: Endpoint,
  { pairs, partitions }: Acknowledged,
  from: readonly number[],
): Promise<Recount> {
  const reader = await LogReader.open(endpoint);
  try {
    if (partitions !== undefined) return await recountPartitions(reader, partitions);
    if (pairs !== undefined) return await recountPairs(reader, pairs, from);
    return { acknowledged: 0, found: 0 };
  } finally {
    reader.close();
  }
}

/** Every offset up to the last acknowledged one must be readable, checksums and all. */
async function recountPartitions(
  reader: LogReader,
  { topic, ends }: NonNullable<Acknowledged['partitions']>,
): Promise<Recount> {
  let acknowledged = 0;
  let found = 0;
  for (const [partition, end] of ends.entries()) {
    const start = await reader.offset(topic, partition, -2);
    const reached = await reader.read({ topic, partition }, { from: start, to: end });
    acknowledged += end - start;
    found += Math.min(reached, end) - start;
  }
  return { acknowledged, found };
}

/** Each message is looked for by its tag, pair and number, and counts once. */
async function recountPairs(
  reader: LogReader,
  { tag, counts }: NonNullable<Acknowledged['pairs']>,
  from: readonly number[],
): Promise<Recount> {
  const seen = counts.map((count) => new Uint8Array(count));
  let found = 0;
  for (const [partition, start] of from.entries()) {
    const to = await reader.offset(mqttTopic, partition, -1);
    await reader.read({ topic: mqttTopic, partition }, { from: start, to }, (bytes, at, end) => {
      eachValue(bytes, at, end, (valueAt, valueEnd) => {
        const mark = readMark(bytes, valueAt, valueEnd, tag);
        const own = mark === null ? undefined : seen[mark.pair];
        if (mark === null || own === undefined || own[mark.sequence] !== 0) return;
        own[mark.sequence] = 1;
        found++;
      });
    });
  }
  return { acknowledged: counts.reduce((sum, count) => sum + count, 0), found };
}
