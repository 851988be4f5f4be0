export { itemBytesMax } from './frame.ts';
export type { WalOptions } from './open-wal.ts';
export { openWal } from './open-wal.ts';
export type { Recovered, RecoveredItem, RotReport, WalUser } from './recovery.ts';
export type { AppendOptions, WalStats } from './wal.ts';
export { Wal } from './wal.ts';
export type { WalErrorCode } from './wal-error.ts';
export type { WalPosition } from './wal-file.ts';
