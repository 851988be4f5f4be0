import { offsetCommit } from '@robustmq/kafka-codec';
import { KafkaClient } from './kafka-client.ts';

export interface OffsetsToCommit {
  readonly group: string;
  readonly topic: string;
  /** By partition. */
  readonly offsets: readonly number[];
}

/** Commits for a group that has no members; resolves when all is acknowledged, throws what was refused. */
export async function commitOffsets(port: number, { group, topic, offsets }: OffsetsToCommit): Promise<void> {
  const client = await KafkaClient.connect({ host: '127.0.0.1', port });
  const partitions = offsets.map((committedOffset, partitionIndex) => ({
    partitionIndex,
    committedOffset,
    committedMetadata: '',
  }));
  const answer = await client.send(offsetCommit, 8, {
    groupId: group,
    topics: [{ name: topic, partitions }],
  });
  client.close();
  for (const { errorCode, partitionIndex } of answer.topics[0]!.partitions) {
    if (errorCode !== 0)
      throw new Error(`${group}: ${topic}/${partitionIndex} was refused with ${errorCode}`);
  }
}
