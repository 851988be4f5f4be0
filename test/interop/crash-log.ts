import type { History, PlacedNumber, ServerProcess } from '@robustmq/testkit';
import { RecordLog } from '@robustmq/testkit';

/** Names that every reader follows; what else is in the default topic has checkers of its own. */
const followed = 'fleet/';

/** Everything that the two topics hold becomes part of the history. */
export async function recordLog(server: ServerProcess, history: History): Promise<void> {
  for (const { subject, number, place } of await readLog(server)) history.store(subject, number, place);
}

/** Every number of the two topics, each shard in the order of its offsets. */
export async function readLog(server: ServerProcess): Promise<PlacedNumber[]> {
  const log = await RecordLog.connect(server.ports.kafka);
  const numbers: PlacedNumber[] = [];
  for (const topic of ['mqtt', 'ledger']) {
    for (const { partition, offset, key, value } of await log.read(topic)) {
      const subject = topic === 'mqtt' ? String(key) : `${topic}/${String(key)}`;
      if (topic === 'mqtt' && !subject.startsWith(followed)) continue;
      numbers.push({ subject, number: Number(String(value)), place: { shard: partition, offset } });
    }
  }
  log.close();
  return numbers;
}
