import { RobustError } from '@robustmq/core';
import type { ShardId } from '@robustmq/core';
import type { Kernel, Shard } from '@robustmq/kernel';

/** Opens a shard that a session remembers; null when its topic was deleted. Throws as `Kernel.openShard` else. */
export async function openedShard(kernel: Kernel, id: ShardId): Promise<Shard | null> {
  try {
    return await kernel.openShard(id);
  } catch (error) {
    if (error instanceof RobustError && error.code === 'SHARD_NOT_FOUND') return null;
    throw error;
  }
}
