import type { DiskFile } from '@robustmq/core';

/** Where an item is, for reading it back. */
export interface WalPosition {
  generation: number;
  /** Byte position of the frame in its file. */
  position: number;
  /** Index of the item in the frame. */
  index: number;
}

/** One file of the ring: the same name on the disk serves many generations. */
export class WalFile {
  readonly name: string;
  /** Its length; a frame that is longer than a file makes it longer. */
  bytes: number;
  readonly file: DiskFile;
  /** The generation whose frames it holds, 0 while blank. */
  generation: number;
  /** The salt of that generation's frames, once known. */
  salt: Buffer = Buffer.alloc(8);
  /** First item number and position of each frame written in this run, ascending. */
  #numbers: number[] = [];
  #positions: number[] = [];

  constructor(name: string, file: DiskFile, content: { bytes: number; generation: number }) {
    this.name = name;
    this.file = file;
    this.bytes = content.bytes;
    this.generation = content.generation;
  }

  begin(generation: number, salt: Buffer): void {
    this.generation = generation;
    this.salt = salt;
    this.#numbers = [];
    this.#positions = [];
  }

  /** Notes a durable frame whose first item has `number`. */
  note(number: number, position: number): void {
    this.#numbers.push(number);
    this.#positions.push(position);
  }

  /** Where an item of this run is, if its frame is in this file or the search goes beyond its last frame. */
  locate(number: number): WalPosition | null {
    const numbers = this.#numbers;
    if (numbers.length === 0 || number < numbers[0]!) return null;
    let low = 0;
    let high = numbers.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (numbers[middle]! <= number) low = middle;
      else high = middle - 1;
    }
    return { generation: this.generation, position: this.#positions[low]!, index: number - numbers[low]! };
  }
}
