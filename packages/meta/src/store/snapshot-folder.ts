import type { Disk, Logger } from '@robustmq/core';
import { RobustError } from '@robustmq/core';
import type { MetadataState, StateOptions } from '../state/metadata-state.ts';
import type { SnapshotRef } from './snapshot-file.ts';
import { listSnapshots, readSnapshot, writeSnapshot } from './snapshot-file.ts';

export interface SnapshotFolderOptions extends StateOptions {
  readonly disk: Disk;
  readonly folder: string;
  readonly logger: Logger;
}

/** The newest one, and one more in case it is damaged. */
const snapshotsKept = 2;

/** The snapshots of one node. */
export class SnapshotFolder {
  readonly #options: SnapshotFolderOptions;

  constructor(options: SnapshotFolderOptions) {
    this.#options = options;
  }

  /** The newest snapshot that is whole, or null. A damaged one is reported and passed over. */
  async newest(): Promise<MetadataState | null> {
    const { disk, folder, logger } = this.#options;
    // A process that was killed may have left a name that is not durable; the log lets go of what a snapshot holds.
    await disk.syncDir(folder);
    for (const { path } of await listSnapshots(disk, folder)) {
      try {
        return await readSnapshot(disk, path, this.#options);
      } catch (error) {
        if (!(error instanceof RobustError) || error.code !== 'META_SNAPSHOT_CORRUPT') throw error;
        logger.error({ error, path }, 'a metadata snapshot is damaged');
      }
    }
    return null;
  }

  /** Writes the state as it is now and removes snapshots that are too old to be of use. */
  async write(state: MetadataState): Promise<SnapshotRef & { readonly bytes: number }> {
    const { disk, folder, clusterId } = this.#options;
    const written = await writeSnapshot(disk, folder, clusterId, state);
    const found = await listSnapshots(disk, folder);
    for (const { path } of found.slice(snapshotsKept)) await disk.unlink(path);
    return written;
  }
}
