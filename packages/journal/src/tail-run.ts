import { assert } from '@robustmq/core';
import { entryFlag } from '@robustmq/kernel';
import type { MemoryTail } from './memory-tail.ts';
import type { Segment, SegmentEnd } from './segment.ts';
import type { ByteRun } from './segment-writer.ts';

/** The entries of a segment that can be written now, as their file will have them. Makes no object for an entry. */
export class TailRun implements ByteRun {
  readonly entries: number;
  /** Where the file ends behind what was given out in full. */
  readonly end: SegmentEnd;
  readonly #tail: MemoryTail;
  readonly #last: number;
  /** Bytes of the entry behind `end` that were given out. */
  #given = 0;

  constructor(segment: Segment) {
    this.#tail = segment.tail;
    this.end = { ...segment.stored };
    this.#last = segment.memory ? this.end.entry : segment.durableEntry;
    this.entries = Math.max(0, this.#last - this.end.entry);
  }

  get position(): number {
    return this.end.bytes;
  }

  get isGivenOut(): boolean {
    return this.end.entry >= this.#last;
  }

  fill(target: Buffer): number {
    const tail = this.#tail;
    let used = 0;
    while (used < target.length && !this.isGivenOut) {
      const index = tail.indexOf(this.end.entry + 1);
      assert(index >= 0, 'an entry stays in memory until it is in its file');
      used += this.#copy(index, target, used);
    }
    return used;
  }

  #copy(index: number, target: Buffer, at: number): number {
    const tail = this.#tail;
    const { end } = this;
    assert(tail.positionAt(index) === end.bytes, 'entries lie back to back');
    const copied = tail.copy(index, this.#given, target, at);
    this.#given += copied;
    if (this.#given === tail.bytesAt(index)) this.#pass(index);
    return copied;
  }

  #pass(index: number): void {
    const tail = this.#tail;
    const { end } = this;
    end.entry++;
    end.offset = tail.baseOffsetAt(index) + tail.countAt(index);
    end.maxTimestamp = Math.max(end.maxTimestamp, tail.maxTimestampAt(index));
    end.bytes += this.#given;
    end.crc = tail.crcAt(index);
    end.control = (tail.flagsAt(index) & entryFlag.control) !== 0;
    this.#given = 0;
  }
}
