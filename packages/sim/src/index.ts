export { MemoryFolder, MemoryFolderLock } from './memory-folder-lock.ts';
export { MemoryStateStore } from './memory-store.ts';
export { SimClock, settle } from './sim-clock.ts';
export type { SimDiskOptions, SimOp, SimOpKind } from './sim-disk.ts';
export { SimDisk } from './sim-disk.ts';
export { sectorBytes } from './sim-file-image.ts';
export { SimRandom } from './sim-random.ts';
