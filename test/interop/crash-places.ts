import type { History, PlacedNumber, ServerProcess } from '@robustmq/testkit';
import { misplaced } from '@robustmq/testkit';
import { readLog } from './crash-log.ts';
import type { Witness } from './crash-witness.ts';

/** Where records lie: what was acknowledged with an offset, or was read before a kill, is at that offset behind it. */
export class Places implements Witness {
  readonly #server: ServerProcess;
  readonly #history: History;
  #read: readonly PlacedNumber[] = [];

  constructor(server: ServerProcess, history: History) {
    this.#server = server;
    this.#history = history;
  }

  async before(): Promise<void> {
    this.#read = await readLog(this.#server);
  }

  async after(): Promise<string[]> {
    // First what is known: publishers go on while the log is read.
    const known = [...this.#history.placed(), ...this.#read];
    return misplaced(known, await readLog(this.#server));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
