/**
 * - `WAL_FOREIGN`: the folder holds the log of another journal or of another kind of writer.
 * - `WAL_VERSION`: the log was written by a later version.
 * - `WAL_AMBIGUOUS`: two files claim the same generation, as after a file was copied by hand.
 * - `WAL_FULL`: more was appended than the bounded queue holds; nothing of the item was kept.
 * - `WAL_STOPPED`: the log is not started, stopped, or has failed.
 */
export type WalErrorCode = 'WAL_FOREIGN' | 'WAL_VERSION' | 'WAL_AMBIGUOUS' | 'WAL_FULL' | 'WAL_STOPPED';
