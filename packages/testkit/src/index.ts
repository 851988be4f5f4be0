export { MemoryJournal } from './memory-journal.ts';
export type { MemoryStorage } from './memory-kernel.ts';
export { createMemoryStorage, startKernel } from './memory-kernel.ts';
export type { ListenerName, ServerExit, ServerPorts, ServerProcessOptions } from './server-process.ts';
export { freePorts, runRobustmq, ServerProcess } from './server-process.ts';
export { waitUntil } from './wait-until.ts';
export type { CommandResult } from './command.ts';
export { hasCommand, runCommand } from './command.ts';
export { javaClientMissing, runJavaClient } from './java-client.ts';
