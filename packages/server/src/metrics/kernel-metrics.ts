import type { Kernel } from '@robustmq/kernel';
import type { MetricTable } from './metric-table.ts';

/** What of the kernel is shown. */
export interface KernelFigures {
  readonly topics: number;
  readonly shards: number;
  readonly lostShards: number;
  readonly publishedMessages: number;
  readonly uncapturedMessages: number;
  readonly inflightBytes: number;
  readonly admitting: number;
  readonly subscriptions: number;
  readonly filters: number;
  readonly exclusions: number;
  readonly undecodableBatches: number;
  readonly catchUpReaders: number;
  readonly retainedRecords: number;
  readonly retainedBytes: number;
}

export const kernelMetrics: MetricTable<KernelFigures> = {
  topics: { name: 'robustmq_kernel_topics', type: 'gauge', help: 'Topics, internal ones too.' },
  shards: { name: 'robustmq_kernel_shards', type: 'gauge', help: 'Shards of all topics.' },
  lostShards: {
    name: 'robustmq_kernel_lost_shards',
    type: 'gauge',
    help: 'Shards that have lost acknowledged records.',
  },
  publishedMessages: {
    name: 'robustmq_kernel_published_messages_total',
    type: 'counter',
    help: 'Messages that adapters published; record batches of clients are not counted here.',
  },
  uncapturedMessages: {
    name: 'robustmq_kernel_uncaptured_messages_total',
    type: 'counter',
    help: 'At-most-once messages that were routed and not stored: over the capture rate, or the disk is full.',
  },
  inflightBytes: {
    name: 'robustmq_kernel_inflight_bytes',
    type: 'gauge',
    help: 'Bytes appended and not yet committed.',
  },
  admitting: {
    name: 'robustmq_kernel_admitting',
    type: 'gauge',
    help: '1 while the journal takes new records, else 0: the disk or the log is full.',
  },
  subscriptions: { name: 'robustmq_kernel_subscriptions', type: 'gauge', help: 'Subscriptions of sessions.' },
  filters: { name: 'robustmq_kernel_filters', type: 'gauge', help: 'Different filters among them.' },
  exclusions: {
    name: 'robustmq_kernel_exclusions_total',
    type: 'counter',
    help: 'Subscriptions with a leading wildcard that do not match a topic that is not bound.',
  },
  undecodableBatches: {
    name: 'robustmq_kernel_undecodable_batches_total',
    type: 'counter',
    help: 'Record batches of clients that could not be decoded, so that sessions skipped them.',
  },
  catchUpReaders: {
    name: 'robustmq_kernel_catch_up_readers',
    type: 'gauge',
    help: 'Sessions that read a shard from the log.',
  },
  retainedRecords: {
    name: 'robustmq_kernel_retained_records',
    type: 'gauge',
    help: 'Subjects with a retained record.',
  },
  retainedBytes: {
    name: 'robustmq_kernel_retained_bytes',
    type: 'gauge',
    help: 'Bytes of retained records.',
  },
};

export function kernelFigures(kernel: Kernel): KernelFigures {
  const { topics, shards } = kernel.modules.metadata.image;
  let lostShards = 0;
  for (const shard of shards.values()) if (shard.holes.some(({ kind }) => kind === 'lost')) lostShards++;
  return {
    topics: topics.size,
    shards: shards.size,
    lostShards,
    publishedMessages: kernel.publisher.counters.messages,
    uncapturedMessages: kernel.publisher.counters.uncaptured,
    inflightBytes: kernel.appender.inflightBytes,
    admitting: kernel.appender.admitting ? 1 : 0,
    subscriptions: kernel.router.subscriptionCount,
    filters: kernel.router.filterCount,
    exclusions: kernel.router.exclusionCount,
    undecodableBatches: kernel.dispatcher.undecodable,
    catchUpReaders: kernel.catchUp.waiting,
    retainedRecords: kernel.retainedUsage.records,
    retainedBytes: kernel.retainedUsage.bytes,
  };
}
