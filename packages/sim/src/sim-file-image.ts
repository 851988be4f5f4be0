import type { SimRandom } from './sim-random.ts';

/** What a device writes or loses as one. */
export const sectorBytes = 512;

/**
 * One file's bytes twice: as its process reads them, and as the medium holds them. Until a sync, each sector that was
 * written has a list of the contents it had; after a power cut it holds any one of them or the old one, whatever
 * became of its neighbours.
 */
export class SimFileImage {
  /** What reads see; bytes beyond `size` are zero. */
  #volatile = Buffer.alloc(0);
  #size = 0;
  #durable = Buffer.alloc(0);
  #durableSize = 0;
  /** Sector -> its contents since the last sync, oldest first. */
  readonly #dirty = new Map<number, Buffer[]>();
  /** Sizes since the last sync, oldest first. */
  #sizes: number[] = [];

  get size(): number {
    return this.#size;
  }

  /** Bytes as reads see them; a view. */
  content(): Buffer {
    return this.#volatile.subarray(0, this.#size);
  }

  read(into: Uint8Array, position: number): number {
    const bytes = Math.max(0, Math.min(into.length, this.#size - position));
    into.set(this.#volatile.subarray(position, position + bytes));
    return bytes;
  }

  write(data: Uint8Array, position: number): void {
    this.#grow(position + data.length);
    this.#volatile.set(data, position);
    this.#touch(position, position + data.length);
  }

  truncate(bytes: number): void {
    const old = this.#size;
    if (bytes < old) {
      this.#volatile.fill(0, bytes, old);
      this.#touch(bytes, old);
    }
    this.#resize(bytes);
  }

  /** Makes everything durable. */
  sync(): void {
    for (const sector of this.#dirty.keys()) this.#persist(sector);
    this.#persistSize(this.#size);
  }

  /**
   * Makes the given range durable, as the completion of a durable write does: with a size that holds it, if a power cut
   * could leave a smaller one.
   */
  syncRange(position: number, bytes: number): void {
    const last = Math.ceil((position + bytes) / sectorBytes);
    for (let sector = Math.floor(position / sectorBytes); sector < last; sector++) this.#persist(sector);
    const end = position + bytes;
    if (end > this.#durableSize || this.#sizes.some((size) => size < end)) this.#persistSize(this.#size);
  }

  /** What a power cut leaves: in a quarter of cases all, in a quarter nothing, else each sector by itself. */
  survivor(random: SimRandom): SimFileImage {
    const image = new SimFileImage();
    const luck = random.below(4);
    const choose = <T>(versions: readonly T[], durable: T | null): T => {
      const at =
        luck === 0 ? versions.length - 1 : luck === 1 ? versions.length : random.below(versions.length + 1);
      return at < 0 || at === versions.length ? (durable as T) : versions[at]!;
    };
    const size = choose(this.#sizes, this.#durableSize);
    const content = Buffer.alloc(roundUp(size));
    this.#durable.copy(content, 0, 0, Math.min(this.#durable.length, content.length));
    for (const [sector, versions] of this.#dirty) {
      const at = sector * sectorBytes;
      if (at >= content.length) continue;
      choose<Buffer | null>(versions, null)?.copy(content, at);
    }
    content.fill(0, size);
    image.#volatile = content;
    image.#size = size;
    image.#durable = Buffer.from(content);
    image.#durableSize = size;
    return image;
  }

  /** The same state under another disk: what the death of a process alone leaves. */
  clone(): SimFileImage {
    const image = new SimFileImage();
    image.#volatile = Buffer.from(this.#volatile);
    image.#size = this.#size;
    image.#durable = Buffer.from(this.#durable);
    image.#durableSize = this.#durableSize;
    for (const [sector, versions] of this.#dirty) image.#dirty.set(sector, [...versions]);
    image.#sizes = [...this.#sizes];
    return image;
  }

  /** Changes bytes on the medium and in memory, as rot does: no sync is owed for it. */
  overwrite(position: number, data: Uint8Array): void {
    this.#grow(position + data.length);
    this.#volatile.set(data, position);
    this.syncRange(position, data.length);
  }

  #grow(size: number): void {
    if (size > this.#size) this.#resize(size);
  }

  #resize(size: number): void {
    const room = roundUp(size);
    if (room > this.#volatile.length) {
      const grown = Buffer.alloc(Math.max(room, this.#volatile.length * 2));
      this.#volatile.copy(grown);
      this.#volatile = grown;
    }
    if (size !== this.#size) this.#sizes.push(size);
    this.#size = size;
  }

  #touch(from: number, to: number): void {
    const last = Math.ceil(to / sectorBytes);
    for (let sector = Math.floor(from / sectorBytes); sector < last; sector++) {
      const content = Buffer.from(this.#volatile.subarray(sector * sectorBytes, (sector + 1) * sectorBytes));
      const versions = this.#dirty.get(sector);
      if (versions === undefined) this.#dirty.set(sector, [content]);
      else versions.push(content);
    }
  }

  #persist(sector: number): void {
    this.#dirty.delete(sector);
    const at = sector * sectorBytes;
    const end = Math.min(at + sectorBytes, this.#volatile.length);
    if (end > this.#durable.length) {
      const grown = Buffer.alloc(Math.max(end, this.#durable.length * 2));
      this.#durable.copy(grown);
      this.#durable = grown;
    }
    this.#volatile.copy(this.#durable, at, at, end);
  }

  #persistSize(size: number): void {
    this.#durableSize = size;
    this.#sizes = [];
  }
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / sectorBytes) * sectorBytes;
}
