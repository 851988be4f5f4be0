import { SimFileImage } from './sim-file-image.ts';
import type { SimRandom } from './sim-random.ts';

export type SimNode = SimFileImage | SimDirectory;

/** A change of names that a power cut keeps or loses as one. */
interface NameChange {
  name: string;
  node: SimNode | null;
  /** The name that a rename within one directory takes away in the same stroke. */
  removes?: string;
}

/** Names as the process sees them, and those that are durable; the changes between wait for `sync`. */
export class SimDirectory {
  readonly entries = new Map<string, SimNode>();
  #durable = new Map<string, SimNode>();
  #changes: NameChange[] = [];

  link(name: string, node: SimNode, removes?: string): void {
    this.entries.set(name, node);
    if (removes !== undefined) this.entries.delete(removes);
    this.#changes.push(removes === undefined ? { name, node } : { name, node, removes });
  }

  unlink(name: string): void {
    this.entries.delete(name);
    this.#changes.push({ name, node: null });
  }

  sync(): void {
    this.#durable = new Map(this.entries);
    this.#changes = [];
  }

  /** What a power cut leaves: the durable names and any of the changes since. */
  survivor(random: SimRandom): SimDirectory {
    const names = new Map(this.#durable);
    for (const { name, node, removes } of this.#changes) {
      if (random.chance(0.5)) continue;
      if (node === null) names.delete(name);
      else names.set(name, node);
      if (removes !== undefined) names.delete(removes);
    }
    const directory = new SimDirectory();
    for (const [name, node] of names) directory.entries.set(name, node.survivor(random));
    directory.sync();
    return directory;
  }

  clone(): SimDirectory {
    const copies = new Map<SimNode, SimNode>();
    const copy = (node: SimNode): SimNode => {
      const found = copies.get(node) ?? node.clone();
      copies.set(node, found);
      return found;
    };
    const directory = new SimDirectory();
    for (const [name, node] of this.entries) directory.entries.set(name, copy(node));
    for (const [name, node] of this.#durable) directory.#durable.set(name, copy(node));
    directory.#changes = this.#changes.map((change) => ({
      ...change,
      node: change.node === null ? null : copy(change.node),
    }));
    return directory;
  }

  /** Sum of the sizes of the files below. */
  usedBytes(): number {
    let used = 0;
    for (const node of this.entries.values()) {
      used += node instanceof SimFileImage ? node.size : node.usedBytes();
    }
    return used;
  }
}
