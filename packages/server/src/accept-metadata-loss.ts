import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { openNodeDisk } from '@robustmq/disk';
import type { Config } from './config-schema.ts';
import { roleFolders, takeRoleFolder } from './data-folder.ts';
import { usageError } from './errors.ts';
import { createLogger } from './logger.ts';
import { metadataOf } from './standalone.ts';

/**
 * Opens the metadata once without the commands that are lost, so that the server starts again; returns a sentence for the
 * person who asked. Topics that only those commands knew are gone with their records. Throws USAGE, and FOLDER_LOCKED
 * while the server runs.
 */
export async function acceptMetadataLoss(config: Config): Promise<string> {
  const path = join(resolve(config.dataDir), roleFolders.meta);
  if (!existsSync(path)) throw usageError(`there is no metadata in ${config.dataDir}`);
  const folder = await takeRoleFolder(path, { clusterId: '', nodeId: config.nodeId });
  try {
    const onFatal = (error: unknown): never => {
      throw error;
    };
    const logger = createLogger(config.log.level);
    const metadata = metadataOf(folder, {
      disk: openNodeDisk({ onFatal }),
      logger,
      onFatal,
      acceptLoss: true,
    });
    try {
      await metadata.start();
      return `metadata goes on with ${metadata.image.topics.size} topics, internal ones included; start the server.`;
    } finally {
      await metadata.stop();
    }
  } finally {
    await folder.release();
  }
}
