import type { ShardId } from '@robustmq/core';
import type {
  AppendAck,
  AppendEntry,
  AppendListener,
  AppendRefusal,
  AppendStream,
  JournalClient,
} from '../ports/journal-client.ts';
import { Turn } from '../turn.ts';
import type { ShardLog } from './shard-log.ts';
import { EntrySlab } from './entry-slab.ts';

export interface AppenderOptions {
  /** Bytes of publishes that are not yet committed, at most; above it sources are paused. */
  readonly inflightBytesMax: number;
}

/**
 * Sends what all shards of this broker append in one turn as one call to the journal, and brings its
 * acknowledgements back to the shards. Holds the bound on bytes in flight.
 */
export class Appender implements AppendListener {
  /** Memory of the small entries of all logs. */
  readonly slab = new EntrySlab();
  readonly #journal: JournalClient;
  readonly #options: AppenderOptions;
  readonly #logs = new Map<ShardId, ShardLog>();
  readonly #dirty = new Set<ShardLog>();
  readonly #turn = new Turn(() => this.flush());
  readonly #relieved = new Set<() => void>();
  #stream: AppendStream | null = null;
  #inflightBytes = 0;
  #admitting = true;
  #journalPressed = false;
  #stopped = false;
  #beforeFlush: () => void = () => undefined;

  constructor(journal: JournalClient, options: AppenderOptions) {
    this.#journal = journal;
    this.#options = options;
  }

  start(beforeFlush: () => void): void {
    this.#beforeFlush = beforeFlush;
    this.#stream = this.#journal.openAppendStream(this);
  }

  stop(): void {
    this.#stopped = true;
    this.#stream?.close();
    this.#stream = null;
  }

  /** Whether the journal has room: decided before an offset is assigned. */
  get admitting(): boolean {
    return this.#admitting;
  }

  get inflightBytes(): number {
    return this.#inflightBytes;
  }

  /** Sources should stop reading until `whenRelieved` calls. */
  get pressed(): boolean {
    return this.#journalPressed || this.#inflightBytes > this.#options.inflightBytesMax;
  }

  /** Calls `task` once when the bytes in flight are below half the bound, and the journal has room. */
  whenRelieved(task: () => void): void {
    this.#relieved.add(task);
  }

  attach(log: ShardLog): void {
    this.#logs.set(log.shard, log);
  }

  detach(log: ShardLog): void {
    if (this.#logs.get(log.shard) === log) this.#logs.delete(log.shard);
    this.#dirty.delete(log);
  }

  took(bytes: number): void {
    this.#inflightBytes += bytes;
  }

  gave(bytes: number): void {
    this.#inflightBytes -= bytes;
    this.#relieve();
  }

  /** The log has something to send; it is asked at the end of the turn. */
  dirty(log: ShardLog): void {
    this.#dirty.add(log);
    this.#turn.request();
  }

  /** Asks for the end-of-turn flush though no log is dirty yet (open publish batches close there). */
  requestFlush(): void {
    this.#turn.request();
  }

  /** Closes the turn now: collects the entries of all dirty shards and sends them together. */
  flush(): void {
    this.#beforeFlush();
    if (this.#stopped || this.#dirty.size === 0) return;
    const entries: AppendEntry[] = [];
    for (const log of this.#dirty) log.drain(entries);
    this.#dirty.clear();
    if (entries.length === 0) return;
    try {
      // After a stream broke, the logs that are opened again go on with a new one.
      this.#stream ??= this.#journal.openAppendStream(this);
    } catch (error) {
      this.closed(error as Error);
      return;
    }
    this.#stream.send(entries);
  }

  acks(acks: readonly AppendAck[]): void {
    for (const ack of acks) this.#logs.get(ack.shard)?.acknowledged(ack);
  }

  refused(refusals: readonly AppendRefusal[]): void {
    for (const refusal of refusals) this.#logs.get(refusal.shard)?.refused(refusal);
  }

  admission(open: boolean): void {
    this.#admitting = open;
  }

  pressure(pressed: boolean): void {
    this.#journalPressed = pressed;
    this.#relieve();
  }

  closed(error: Error | null): void {
    this.#stream = null;
    // A new stream says anew how the journal does.
    this.pressure(false);
    for (const log of [...this.#logs.values()]) log.disconnected(error);
  }

  #relieve(): void {
    if (this.#relieved.size === 0 || this.#journalPressed) return;
    if (this.#inflightBytes > this.#options.inflightBytesMax / 2) return;
    const tasks = [...this.#relieved];
    this.#relieved.clear();
    for (const task of tasks) task();
  }
}
