import type { ServerProcess } from '@robustmq/testkit';
import { commitOffsets } from '@robustmq/testkit';
import { kafkaOf } from './crash-clients.ts';
import type { Witness } from './crash-witness.ts';

const group = 'bookmarks';
const partitions = 4;

/** Offsets of a group that nobody consumes: only they who commit move them, forward and back. */
export class GroupOffsets implements Witness {
  readonly #server: ServerProcess;
  readonly #topic: string;
  readonly #admin: ReturnType<ReturnType<typeof kafkaOf>['admin']>;
  #committed: readonly number[] = [];

  private constructor(server: ServerProcess, topic: string) {
    this.#server = server;
    this.#topic = topic;
    this.#admin = kafkaOf(server).admin();
  }

  static async open(server: ServerProcess, topic: string): Promise<GroupOffsets> {
    const offsets = new GroupOffsets(server, topic);
    await offsets.#admin.connect();
    return offsets;
  }

  async before(kill: number): Promise<void> {
    const offsets = Array.from({ length: partitions }, (_, partition) => (kill * 37 + partition * 11) % 64);
    await commitOffsets(this.#server.ports.kafka, { group, topic: this.#topic, offsets });
    this.#committed = offsets;
  }

  async after(): Promise<string[]> {
    const [fetched] = await this.#admin.fetchOffsets({ groupId: group, topics: [this.#topic] });
    const found = [...fetched!.partitions]
      .sort((a, b) => a.partition - b.partition)
      .map(({ offset }) => offset);
    if (found.join() === this.#committed.join()) return [];
    return [`group ${group}: offsets are ${found.join()} and should be ${this.#committed.join()}`];
  }

  async close(): Promise<void> {
    await this.#admin.disconnect();
  }
}
