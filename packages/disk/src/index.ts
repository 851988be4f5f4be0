export type { DiskCounters, IoCounters } from './counters.ts';
export { openFolderLock } from './folder-lock.ts';
export type { StoreErrorCode } from './level-store.ts';
export { openLevelStore } from './level-store.ts';
export type { NodeDiskOptions } from './node-disk.ts';
export { NodeDisk, openNodeDisk } from './node-disk.ts';
export { syncDirectory } from './sync-directory.ts';
