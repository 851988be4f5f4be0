import type { History, ServerProcess } from '@robustmq/testkit';
import { RecordLog } from '@robustmq/testkit';

/** Names that every reader follows; what else is in the default topic has checkers of its own. */
const followed = 'fleet/';

/** Everything that the two topics hold becomes part of the history. */
export async function recordLog(server: ServerProcess, history: History): Promise<void> {
  const log = await RecordLog.connect(server.ports.kafka);
  for (const { partition, offset, key, value } of await log.read('mqtt')) {
    if (!String(key).startsWith(followed)) continue;
    history.store(String(key), Number(String(value)), { shard: partition, offset });
  }
  for (const { partition, offset, key, value } of await log.read('ledger')) {
    history.store(`ledger/${String(key)}`, Number(String(value)), { shard: partition, offset });
  }
  log.close();
}
