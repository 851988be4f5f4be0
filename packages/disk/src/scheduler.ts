import type { IoClass } from '@robustmq/core';
import { assert } from '@robustmq/core';

/** `names` is the lane of directory work (create, rename, list); every other lane is an I/O class of the port. */
export type Lane = IoClass | 'names';

/** Admitted work. `begin` runs once, when the lane has a slot, and calls `done` once, when the slot is free. */
export interface Job {
  begin(done: (lane: Lane) => void): void;
  readonly lane: Lane;
}

export interface SchedulerOptions {
  /** Reads in flight. */
  maxReads: number;
  /** Threads of libuv's pool. All but one may hold work that is not the WAL's, so that a WAL write finds one idle. */
  threads: number;
}

/** The lanes that share what the WAL leaves, visited in turn so that none starves another. */
const sharedLanes: readonly Lane[] = ['read', 'writeBehind', 'level', 'names', 'compaction'];

/**
 * Decides which file work is in libuv's pool. WAL work starts at once; all else has a bound per lane and one over all
 * lanes and waits here: what waits inside the pool cannot be overtaken, and eight large reads there cost a durable
 * write sixty times its latency. Queues are bounded by the callers, who each await what they submitted.
 */
export class Scheduler {
  readonly #queues = new Map<Lane, Queue>();
  readonly #maxShared: number;
  #sharedRunning = 0;
  #turn = 0;
  readonly #done = (lane: Lane): void => {
    this.#finished(lane);
  };

  constructor(options: SchedulerOptions) {
    this.#maxShared = Math.max(1, options.threads - 1);
    for (const lane of sharedLanes) this.#queues.set(lane, new Queue(lane === 'read' ? options.maxReads : 1));
  }

  submit(job: Job): void {
    if (job.lane === 'wal') {
      job.begin(this.#done);
      return;
    }
    this.#queue(job.lane).push(job);
    this.#dispatch();
  }

  /** Work that waits for a slot. */
  get waiting(): number {
    let waiting = 0;
    for (const queue of this.#queues.values()) waiting += queue.length;
    return waiting;
  }

  #queue(lane: Lane): Queue {
    const queue = this.#queues.get(lane);
    assert(queue !== undefined, 'unknown I/O class');
    return queue;
  }

  #finished(lane: Lane): void {
    if (lane === 'wal') return;
    this.#queue(lane).running--;
    this.#sharedRunning--;
    this.#dispatch();
  }

  #dispatch(): void {
    for (let idle = 0; idle < sharedLanes.length && this.#sharedRunning < this.#maxShared; ) {
      this.#turn = (this.#turn + 1) % sharedLanes.length;
      const queue = this.#queue(sharedLanes[this.#turn]!);
      if (queue.length === 0 || queue.running === queue.slots) {
        idle++;
        continue;
      }
      idle = 0;
      queue.running++;
      this.#sharedRunning++;
      queue.shift().begin(this.#done);
    }
  }
}

/** First in, first out, without moving the rest at every shift. */
class Queue {
  readonly slots: number;
  running = 0;
  #jobs: (Job | undefined)[] = [];
  #head = 0;

  constructor(slots: number) {
    this.slots = slots;
  }

  get length(): number {
    return this.#jobs.length - this.#head;
  }

  push(job: Job): void {
    this.#jobs.push(job);
  }

  shift(): Job {
    const job = this.#jobs[this.#head]!;
    // Its buffer must not stay in memory until the array is cut.
    this.#jobs[this.#head] = undefined;
    this.#head++;
    if (this.#head === this.#jobs.length || this.#head === 1024) {
      this.#jobs = this.#jobs.slice(this.#head);
      this.#head = 0;
    }
    return job;
  }
}
