import type { AppendAck, Durability } from '../ports/journal-client.ts';
import type { TopicConfig } from '../topic-config.ts';

/** The entry id up to which an acknowledgement counts, by what the entry was sent with. */
export function ackedUpTo(ack: AppendAck, durability: Durability): number {
  return durability.kind === 'always' ? ack.durableUpTo : ack.receivedUpTo;
}

/** How soon entries of a topic may be acknowledged. */
export function durabilityOf(config: TopicConfig): Durability {
  if (config.storage === 'memory') return { kind: 'memory' };
  return config.flush === 'interval' ? { kind: 'interval', ms: config.flushIntervalMs } : { kind: 'always' };
}
