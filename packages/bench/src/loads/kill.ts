import { drain } from '../measure.ts';

/** What was acknowledged before the kill may still be on its way through the sockets for so long. */
const quietMs = 300;

/** Ends the servers as a crash would, and waits until no more acknowledgements of theirs come in. */
export async function killServers(pids: readonly number[], acknowledged: () => number): Promise<void> {
  for (const pid of pids) process.kill(pid, 'SIGKILL');
  await drain(() => false, acknowledged, quietMs);
}
