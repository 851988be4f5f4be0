import { ByteReader, ByteWriter, RobustError } from '@robustmq/core';
import type { BytesErrorCode } from '@robustmq/core';
import type { StateOptions } from '../state/metadata-state.ts';
import type { SnapshotRef } from './snapshot-file.ts';

/** What the head of each log file says. */
export interface Checkpoint extends StateOptions {
  /** Index of the last command that was durable when the file was begun: all up to it must be found again. */
  readonly committed: number;
  /** The oldest generation that holds commands behind the snapshot. */
  readonly oldestNeeded: number;
  /** Null while the log reaches back to the first command. */
  readonly snapshot: SnapshotRef | null;
}

const version = 1;

export function encodeCheckpoint(checkpoint: Checkpoint): Buffer {
  const { clusterId, defaultTopic, committed, oldestNeeded, snapshot } = checkpoint;
  const writer = new ByteWriter().u8(version).string(clusterId).string(defaultTopic);
  writer
    .i64(committed)
    .i64(oldestNeeded)
    .bool(snapshot !== null);
  if (snapshot !== null) writer.i64(snapshot.index).string(snapshot.hash);
  return writer.finish();
}

/** Throws a `BytesErrorCode` on bytes that `encodeCheckpoint` of this version does not write. */
export function decodeCheckpoint(chunks: readonly Uint8Array[]): Checkpoint {
  const reader = new ByteReader(Buffer.concat(chunks));
  if (reader.u8() !== version) {
    throw new RobustError<BytesErrorCode>('BYTES_MALFORMED', 'a checkpoint of another version');
  }
  const head = {
    clusterId: reader.string(),
    defaultTopic: reader.string(),
    committed: reader.i64(),
    oldestNeeded: reader.i64(),
  };
  const snapshot = reader.bool() ? { index: reader.i64(), hash: reader.string() } : null;
  return { ...head, snapshot };
}
