import { constants } from 'node:fs';
import { access, mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { FolderIdentity, FolderLock } from '@robustmq/core';
import { RobustError, systemRandom } from '@robustmq/core';
import { openFolderLock, syncDirectory } from '@robustmq/disk';
import { dataFolderUnusable } from './errors.ts';
import type { ServerErrorCode } from './errors.ts';

/** A folder of one role that this process has for itself. */
export interface RoleFolder {
  readonly path: string;
  readonly identity: FolderIdentity;
  release(): Promise<void>;
}

/** Makes the data folder where it is missing, so that a power cut does not take its name. Throws DATA_FOLDER_UNUSABLE. */
export async function makeDataFolder(path: string): Promise<void> {
  try {
    for (const folder of await missingFolders(path)) {
      await makeFolder(folder);
      await syncDirectory(dirname(folder));
    }
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw dataFolderUnusable(path, error);
  }
}

/**
 * The folders of a path that are not there, topmost first. Node's recursive `mkdir` is not asked: below a folder that
 * takes no others, such as /proc, it tries for ever.
 */
async function missingFolders(path: string): Promise<string[]> {
  const missing: string[] = [];
  for (let folder = path; !(await exists(folder)); folder = dirname(folder)) missing.unshift(folder);
  return missing;
}

async function exists(path: string): Promise<boolean> {
  try {
    if ((await stat(path)).isDirectory()) return true;
  } catch (error) {
    if (isCode(error, 'ENOENT')) return false;
    throw error;
  }
  throw Object.assign(new Error(`${path} is a file`), { code: 'ENOTDIR' });
}

/** Another process may make the same one: which of them has it is for the lock to say. */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if (!isCode(error, 'EEXIST')) throw error;
  }
}

function isCode(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException).code === code;
}

/** The folders of the roles in the data folder. */
export const roleFolders = { meta: 'meta', journal: 'journal' } as const;

/**
 * Takes the folder of a role; it gets its identity when it is new. Throws FOLDER_LOCKED when another process has it,
 * DATA_FOLDER_UNUSABLE, and CONFIG_INVALID when it belongs to another node.
 */
export async function takeRoleFolder(
  path: string,
  wanted: { readonly clusterId: string; readonly nodeId: number },
): Promise<RoleFolder> {
  await makeDataFolder(path);
  const lock: FolderLock = openFolderLock(join(path, 'lock'));
  const identity = await lock.acquire(() => ({ ...wanted, uuid: systemRandom.bytes(16).toString('hex') }));
  if (identity.nodeId !== wanted.nodeId) {
    await lock.release();
    throw new RobustError<ServerErrorCode>(
      'CONFIG_INVALID',
      `nodeId is ${wanted.nodeId}, but ${path} belongs to node ${identity.nodeId}: set nodeId back, or use another dataDir.`,
    );
  }
  return { path, identity, release: () => lock.release() };
}
