/** One thing at a time per client: connecting, ending and expiring a session wait for each other. */
export class ClientTurns {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Runs `task` after everything that was asked for the same client before. */
  run<Result>(clientId: string, task: () => Promise<Result>): Promise<Result> {
    // Never at once: what a task asks for while it runs has to find it here.
    const before = this.#last.get(clientId) ?? Promise.resolve();
    const turn = before.then(task, task);
    this.#last.set(clientId, turn);
    const done = (): void => {
      if (this.#last.get(clientId) === turn) this.#last.delete(clientId);
    };
    turn.then(done, done);
    return turn;
  }

  async whenIdle(): Promise<void> {
    while (this.#last.size > 0) await Promise.allSettled(this.#last.values());
  }
}
