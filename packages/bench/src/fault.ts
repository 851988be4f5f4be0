/** Carries the first failure of any socket of a load to whoever awaits the load. */
export class Fault {
  readonly #raised: Promise<never>;
  #reject: (error: Error) => void = () => undefined;
  #closing = false;

  constructor() {
    this.#raised = new Promise((_, reject) => {
      this.#reject = reject;
    });
    // A fault raised while nobody races against it must not end the process.
    this.#raised.catch(() => undefined);
  }

  /** From here on closed sockets are expected. */
  close(): void {
    this.#closing = true;
  }

  raise(error: Error): void {
    if (!this.#closing) this.#reject(error);
  }

  /** `work`, or the failure that comes before it ends. */
  race<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#raised]);
  }
}
