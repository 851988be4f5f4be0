import type { RetainedRecord, Subscription } from '@robustmq/kernel';

/** Retained records that a subscription has still to be sent; references to what is retained anyway. */
interface Batch {
  readonly subscription: Subscription;
  readonly records: readonly RetainedRecord[];
  at: number;
}

/** What a session is owed of retained messages, in the order of its subscriptions; sent before anything live. */
export class RetainedQueue {
  #batches: Batch[] = [];

  get empty(): boolean {
    return this.#batches.length === 0;
  }

  add(subscription: Subscription, records: readonly RetainedRecord[]): void {
    if (records.length > 0) this.#batches.push({ subscription, records, at: 0 });
  }

  /** What was owed to `from` is owed to `to`, in its place; returns whether there was anything. */
  transfer(from: Subscription, to: Subscription): boolean {
    let found = false;
    for (const [at, batch] of this.#batches.entries()) {
      if (batch.subscription !== from) continue;
      this.#batches[at] = { ...batch, subscription: to };
      found = true;
    }
    return found;
  }

  /** The subscription whose records are being sent, with those that were; null when there is none. */
  get progress(): { readonly subscription: Subscription; readonly sent: readonly RetainedRecord[] } | null {
    const batch = this.#batches[0];
    if (batch === undefined) return null;
    return { subscription: batch.subscription, sent: batch.records.slice(0, batch.at) };
  }

  /** Forgets what is owed to a subscription that ended. */
  remove(subscription: Subscription): void {
    this.#batches = this.#batches.filter((batch) => batch.subscription !== subscription);
  }

  /**
   * Calls `send` for records in order until it returns false, which leaves that record for the next time. Calls
   * `finished` for each subscription whose last record was sent.
   */
  drain(
    send: (record: RetainedRecord, subscription: Subscription) => boolean,
    finished: (subscription: Subscription) => void,
  ): void {
    for (let batch = this.#batches[0]; batch !== undefined; batch = this.#batches[0]) {
      const { records, subscription } = batch;
      for (; batch.at < records.length; batch.at++) {
        if (!send(records[batch.at]!, subscription)) return;
      }
      this.#batches.shift();
      finished(subscription);
    }
  }
}
