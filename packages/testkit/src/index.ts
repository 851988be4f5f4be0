export { MemoryJournal } from './memory-journal.ts';
export type { MemoryStorage } from './memory-kernel.ts';
export { createMemoryStorage, startKernel } from './memory-kernel.ts';
