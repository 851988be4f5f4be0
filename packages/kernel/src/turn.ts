/**
 * One callback at the end of the event-loop turn in which it was asked for: after every socket that was readable in
 * this turn has been read. This is where batches close; nothing else in the kernel waits to gather.
 */
export class Turn {
  readonly #task: () => void;
  #asked = false;

  constructor(task: () => void) {
    this.#task = task;
  }

  request(): void {
    if (this.#asked) return;
    this.#asked = true;
    setImmediate(() => {
      this.#asked = false;
      this.#task();
    });
  }
}
