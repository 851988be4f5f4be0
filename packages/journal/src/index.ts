export type { JournalCounters } from './counters.ts';
export type { JournalLimits } from './limits.ts';
export { defaultLimits } from './limits.ts';
export type { JournalOptions } from './local-journal.ts';
export { LocalJournal, openJournal } from './local-journal.ts';
