import type { Clock, SegmentId, ShardId, Timer } from '@robustmq/core';
import { RobustError } from '@robustmq/core';
import type {
  AppendAck,
  AppendEntry,
  AppendListener,
  AppendRefusal,
  AppendStream,
  EntryHeader,
  SegmentRecord,
} from '@robustmq/kernel';
import { entryCrcOf } from '@robustmq/kernel';
import type { Wal } from '@robustmq/wal';
import type { JournalCounters } from './counters.ts';
import type { JournalLimits } from './limits.ts';
import type { Segment } from './segment.ts';
import type { SegmentStore, ShardState } from './segment-store.ts';
import { entryNumbersOf, headerOf } from './tail-entry.ts';

export interface AppenderOptions {
  readonly store: SegmentStore;
  readonly wal: Wal;
  readonly limits: JournalLimits;
  readonly counters: JournalCounters;
  readonly clock: Clock;
  /** What metadata knows of a segment. */
  readonly record: (shard: ShardId, segment: SegmentId) => SegmentRecord | undefined;
  /** More of these segments is durable in the log. */
  readonly grew: (segments: readonly Segment[]) => void;
  /** The crc of an entry that has left memory; null when it cannot be read. */
  readonly storedCrc: (segment: Segment, header: EntryHeader) => Promise<number | null>;
  readonly logFull: () => void;
  readonly onFatal: (error: Error) => void;
}

const lazily = { lazy: true };

/** Entries on their way through the log, oldest first: what a frame's end acknowledges. */
interface Flight {
  readonly number: number;
  readonly segment: Segment;
  readonly entryId: number;
  readonly stream: Stream;
}

/**
 * The append path: checks an entry against fence, order and chain, takes it into memory and into the log, and
 * acknowledges once per frame everything that the frame made durable. Keeps one object for an entry on its way,
 * which holds all that a shard's owner appended in a turn; `bench` watches the whole.
 */
export class Appender {
  readonly #options: AppenderOptions;
  readonly #streams = new Set<Stream>();
  #flights: Flight[] = [];
  #flightHead = 0;
  #round = 0;
  #lazyTimer: Timer | null = null;
  /** When it ends. */
  #lazyDue = 0;
  #lazyBytes = 0;
  #stopped = false;

  constructor(options: AppenderOptions) {
    this.#options = options;
  }

  open(listener: AppendListener): AppendStream {
    const stream = new Stream(listener, this);
    this.#streams.add(stream);
    return stream;
  }

  admission(open: boolean): void {
    for (const stream of this.#streams) stream.listener.admission(open);
  }

  pressure(pressed: boolean): void {
    for (const stream of this.#streams) stream.listener.pressure(pressed);
  }

  forget(stream: Stream): void {
    this.#streams.delete(stream);
  }

  /** Takes no more entries; what is durable by now is acknowledged. */
  stop(error: Error | null): void {
    this.#stopped = true;
    this.#lazyTimer?.cancel();
    for (const stream of [...this.#streams]) {
      this.#streams.delete(stream);
      stream.end(error);
    }
  }

  send(stream: Stream, entries: readonly AppendEntry[]): void {
    if (this.#stopped) return;
    for (let at = 0; at < entries.length; at++) this.#take(stream, entries[at]!);
    if (this.#options.wal.full) this.#options.logFull();
  }

  /** The log says that everything up to an item is durable. */
  durable(upTo: number): void {
    const { counters } = this.#options;
    const round = ++this.#round;
    counters.frames++;
    const flights = this.#flights;
    let at = this.#flightHead;
    const grown: Segment[] = [];
    for (; at < flights.length; at++) {
      const flight = flights[at]!;
      if (flight.number > upTo) break;
      flight.segment.durableEntry = flight.entryId;
      if (flight.segment.ackRound === round) continue;
      flight.segment.ackRound = round;
      grown.push(flight.segment);
      flight.stream.owe(flight.segment);
    }
    this.#flightHead = at;
    if (at === flights.length || at > 4096) {
      this.#flights = flights.slice(at);
      this.#flightHead = 0;
    }
    for (const stream of this.#streams) stream.pay();
    this.#options.grew(grown);
  }

  #take(stream: Stream, entry: AppendEntry): void {
    const { store } = this.#options;
    const shard = store.shard(entry.shard);
    if (entry.epoch < shard.fence) return this.#refuse(stream, entry, 'JOURNAL_FENCED', shard);
    const header = headerOf(entry);
    if (header === null) return this.#refuse(stream, entry, 'JOURNAL_DIVERGED', shard);
    const segment = shard.segments.get(entry.segment) ?? this.#create(shard, entry, header);
    if (segment === null || segment.phase !== 'open' || segment.lostTo > 0) {
      return this.#refuse(stream, entry, 'JOURNAL_SEGMENT_UNKNOWN', shard);
    }
    if (entry.entryId > segment.end.entry + 1) return this.#refuse(stream, entry, 'JOURNAL_GAP', shard);
    if (entry.entryId <= segment.end.entry) return this.#again(stream, entry, { header, segment, shard });
    if (header.previousCrc !== segment.end.crc || entry.epoch !== segment.epoch) {
      return this.#refuse(stream, entry, 'JOURNAL_DIVERGED', shard);
    }
    this.#append(stream, entry, { header, segment, shard });
  }

  #create(shard: ShardState, entry: AppendEntry, header: EntryHeader): Segment | null {
    if (entry.entryId !== 0) return null;
    const record = this.#options.record(entry.shard, entry.segment);
    if (record?.state === 'sealed') return null;
    const segment = this.#options.store.create({
      shard: shard.id,
      id: entry.segment,
      epoch: entry.epoch,
      baseOffset: header.baseOffset,
      memory: entry.durability.kind === 'memory',
    });
    segment.listed = record !== undefined;
    return segment;
  }

  #append(stream: Stream, entry: AppendEntry, { header, segment, shard }: Checked): void {
    const { store, wal, counters, clock, onFatal } = this.#options;
    const place = { position: segment.end.bytes, generation: wal.generation };
    const numbers = entryNumbersOf(header, entry.parts, place);
    if (!segment.memory) {
      const { durability } = entry;
      let number: number;
      try {
        number = wal.append(entry.parts, numbers.crc, durability.kind === 'interval' ? lazily : undefined);
      } catch (error) {
        this.#refuse(stream, entry, 'STORAGE_FULL', shard);
        if (!(error instanceof RobustError) || error.code !== 'WAL_FULL') onFatal(error as Error);
        return;
      }
      this.#flights.push({ number, segment, entryId: entry.entryId, stream });
      if (durability.kind === 'interval')
        this.#lazy(stream, segment, { bytes: numbers.bytes, ms: durability.ms });
    } else {
      stream.oweSoon(segment);
    }
    if (entry.epoch > shard.fence) shard.fence = entry.epoch;
    store.push(segment, numbers, entry.parts, clock.monotonic());
    counters.appendedEntries++;
    counters.appendedBytes += numbers.bytes;
  }

  /** An entry that is here already: acknowledged again if it is the same. */
  #again(stream: Stream, entry: AppendEntry, { header, segment, shard }: Checked): void {
    const at = segment.tail.indexOf(entry.entryId);
    if (at >= 0) {
      if (segment.tail.crcAt(at) !== entryCrcOf(entry.parts[0]!)) {
        return this.#refuse(stream, entry, 'JOURNAL_DIVERGED', shard);
      }
      return stream.oweSoon(segment);
    }
    void this.#options.storedCrc(segment, header).then((crc) => {
      if (crc === entryCrcOf(entry.parts[0]!)) stream.oweSoon(segment);
      else this.#refuse(stream, entry, 'JOURNAL_DIVERGED', shard);
    }, this.#options.onFatal);
  }

  #lazy(stream: Stream, segment: Segment, { bytes, ms }: { bytes: number; ms: number }): void {
    const { clock, limits } = this.#options;
    stream.oweSoon(segment);
    this.#lazyBytes += bytes;
    if (this.#lazyBytes >= limits.lazyBytes) return this.#flushLazy();
    const due = clock.monotonic() + ms;
    if (this.#lazyTimer !== null && due >= this.#lazyDue) return;
    this.#lazyTimer?.cancel();
    this.#lazyDue = due;
    this.#lazyTimer = clock.after(ms, () => this.#flushLazy());
  }

  #flushLazy(): void {
    this.#lazyTimer?.cancel();
    this.#lazyTimer = null;
    this.#lazyBytes = 0;
    if (!this.#stopped) this.#options.wal.flush();
  }

  #refuse(stream: Stream, entry: AppendEntry, code: AppendRefusal['code'], shard: ShardState): void {
    this.#options.counters.refusals++;
    const { segment, entryId } = entry;
    stream.refuse({ shard: entry.shard, segment, entryId, code, epoch: shard.fence });
  }

  get counters(): JournalCounters {
    return this.#options.counters;
  }
}

interface Checked {
  readonly header: EntryHeader;
  readonly segment: Segment;
  readonly shard: ShardState;
}

/** One broker's stream: collects what it is owed, and calls its listener once for all. */
export class Stream implements AppendStream {
  readonly listener: AppendListener;
  readonly #appender: Appender;
  #owed = new Set<Segment>();
  #refusals = new Map<Segment['id'], AppendRefusal>();
  #scheduled = false;
  #closed = false;

  constructor(listener: AppendListener, appender: Appender) {
    this.listener = listener;
    this.#appender = appender;
  }

  send(entries: readonly AppendEntry[]): void {
    if (!this.#closed) this.#appender.send(this, entries);
  }

  close(): void {
    this.#closed = true;
    this.#appender.forget(this);
  }

  end(error: Error | null): void {
    this.#closed = true;
    this.listener.closed(error);
  }

  owe(segment: Segment): void {
    this.#owed.add(segment);
  }

  /** As `owe`, paid when the caller is done with this turn. */
  oweSoon(segment: Segment): void {
    this.#owed.add(segment);
    this.#schedule();
  }

  /** Only the first of a segment is told: it stands for all behind it. */
  refuse(refusal: AppendRefusal): void {
    const known = this.#refusals.get(refusal.segment);
    if (known === undefined || known.entryId > refusal.entryId) this.#refusals.set(refusal.segment, refusal);
    this.#schedule();
  }

  pay(): void {
    if (this.#closed) return;
    if (this.#owed.size > 0) {
      const acks: AppendAck[] = [];
      for (const segment of this.#owed) {
        const durableUpTo = segment.memory ? -1 : segment.durableEntry;
        acks.push({
          shard: segment.shard,
          segment: segment.id,
          receivedUpTo: segment.end.entry,
          durableUpTo,
        });
      }
      this.#owed = new Set();
      this.#appender.counters.acks += acks.length;
      this.listener.acks(acks);
    }
    if (this.#refusals.size > 0) {
      const refusals = [...this.#refusals.values()];
      this.#refusals = new Map();
      this.listener.refused(refusals);
    }
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.pay();
    });
  }
}
