import type { DiskCounters } from '@robustmq/disk';
import type { JournalCounters, LocalJournal } from '@robustmq/journal';
import type { MetricTable } from './metric-table.ts';

export const journalMetrics: MetricTable<JournalCounters> = {
  appendedEntries: {
    name: 'robustmq_journal_appended_entries_total',
    type: 'counter',
    help: 'Entries appended.',
  },
  appendedBytes: {
    name: 'robustmq_journal_appended_bytes_total',
    type: 'counter',
    help: 'Bytes of these entries.',
  },
  frames: {
    name: 'robustmq_journal_frames_total',
    type: 'counter',
    help: 'Frames of the write-ahead log that became durable.',
  },
  acks: {
    name: 'robustmq_journal_acks_total',
    type: 'counter',
    help: 'Acknowledgements sent to owners of shards.',
  },
  refusals: { name: 'robustmq_journal_refusals_total', type: 'counter', help: 'Appends refused.' },
  readsCached: {
    name: 'robustmq_journal_reads_cached_total',
    type: 'counter',
    help: 'Reads that needed no disk.',
  },
  readsDisk: {
    name: 'robustmq_journal_reads_disk_total',
    type: 'counter',
    help: 'Reads that went to the disk.',
  },
  blocksRead: {
    name: 'robustmq_journal_blocks_read_total',
    type: 'counter',
    help: 'Blocks read from the disk.',
  },
  blocksSkipped: {
    name: 'robustmq_journal_blocks_skipped_total',
    type: 'counter',
    help: 'Blocks that a filter saved from being read.',
  },
  rotEntries: {
    name: 'robustmq_journal_rot_entries_total',
    type: 'counter',
    help: 'Damaged entries found at reading.',
  },
  scrubbedBytes: {
    name: 'robustmq_journal_scrubbed_bytes_total',
    type: 'counter',
    help: 'Bytes of sealed segments that were checked in the background.',
  },
  scrubDamagedSegments: {
    name: 'robustmq_journal_scrub_damaged_segments_total',
    type: 'counter',
    help: 'Damaged segments found that way, each once a pass; the log says where.',
  },
  lostSegments: {
    name: 'robustmq_journal_lost_segments_total',
    type: 'counter',
    help: 'Segments that lost acknowledged entries to a damaged write-ahead log.',
  },
  sweeps: {
    name: 'robustmq_journal_sweeps_total',
    type: 'counter',
    help: 'Times that the entries of a segment were written behind.',
  },
  sweptBytes: { name: 'robustmq_journal_swept_bytes_total', type: 'counter', help: 'Bytes written behind.' },
  sealedSegments: {
    name: 'robustmq_journal_sealed_segments_total',
    type: 'counter',
    help: 'Segments sealed.',
  },
  deletedSegments: {
    name: 'robustmq_journal_deleted_segments_total',
    type: 'counter',
    help: 'Segments deleted.',
  },
  pooledSegments: {
    name: 'robustmq_journal_pooled_segments_total',
    type: 'counter',
    help: 'Segments that began in a file of the pool.',
  },
  memoryDropped: {
    name: 'robustmq_journal_memory_dropped_entries_total',
    type: 'counter',
    help: 'Entries of topics in memory that the bound on memory dropped.',
  },
  tailBytes: {
    name: 'robustmq_journal_tail_bytes',
    type: 'gauge',
    help: 'Entries that are not in a segment yet.',
  },
  tailCacheBytes: {
    name: 'robustmq_journal_tail_cache_bytes',
    type: 'gauge',
    help: 'Entries kept in memory after they were written.',
  },
  blockCacheBytes: {
    name: 'robustmq_journal_block_cache_bytes',
    type: 'gauge',
    help: 'Blocks kept in memory.',
  },
  indexCacheBytes: {
    name: 'robustmq_journal_index_cache_bytes',
    type: 'gauge',
    help: 'Indexes and filters kept in memory.',
  },
  memoryBytes: {
    name: 'robustmq_journal_memory_topic_bytes',
    type: 'gauge',
    help: 'Entries of topics with `storage=memory`.',
  },
  openFiles: { name: 'robustmq_journal_open_files', type: 'gauge', help: 'Segment files that are open.' },
  poolFiles: {
    name: 'robustmq_journal_pool_files',
    type: 'gauge',
    help: 'Files of the pool of written segment files.',
  },
};

/** The journal's write-ahead log; metadata has one of its own, which writes little. */
export const walMetrics: MetricTable<LocalJournal['walStats']> = {
  frames: { name: 'robustmq_wal_frames_total', type: 'counter', help: 'Frames written.' },
  items: { name: 'robustmq_wal_items_total', type: 'counter', help: 'Items in these frames.' },
  itemBytes: { name: 'robustmq_wal_item_bytes_total', type: 'counter', help: 'Bytes of these items.' },
  writtenBytes: {
    name: 'robustmq_wal_written_bytes_total',
    type: 'counter',
    help: 'Bytes written, with headers, padding and checkpoints.',
  },
  checkpoints: { name: 'robustmq_wal_checkpoints_total', type: 'counter', help: 'Checkpoints written.' },
  stalls: {
    name: 'robustmq_wal_stalls_total',
    type: 'counter',
    help: 'Times that writing waited for a file.',
  },
};

export const diskMetrics: MetricTable<DiskCounters['wal']> = {
  pwrites: { name: 'robustmq_disk_writes_total', type: 'counter', help: 'Writes, by class of I/O.' },
  writtenBytes: {
    name: 'robustmq_disk_written_bytes_total',
    type: 'counter',
    help: 'Bytes written, by class of I/O.',
  },
  preads: { name: 'robustmq_disk_reads_total', type: 'counter', help: 'Reads, by class of I/O.' },
  readBytes: {
    name: 'robustmq_disk_read_bytes_total',
    type: 'counter',
    help: 'Bytes read, by class of I/O.',
  },
  syncs: { name: 'robustmq_disk_syncs_total', type: 'counter', help: 'Syncs of files, by class of I/O.' },
};

/** Space of the volume, as the journal last saw it. */
export interface SpaceFigures {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

export const spaceMetrics: MetricTable<SpaceFigures> = {
  freeBytes: { name: 'robustmq_journal_free_bytes', type: 'gauge', help: 'Free space of the volume.' },
  totalBytes: { name: 'robustmq_journal_total_bytes', type: 'gauge', help: 'Size of the volume.' },
};
