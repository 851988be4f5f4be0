/** Bounds of one generation. */
export interface GenerationLimits {
  readonly entriesMax: number;
  /** Sum of the keys' lengths. */
  readonly unitsMax: number;
}

/**
 * A map that forgets what was not used lately, at the price of one look-up for what is in use: new and used entries
 * are in the young generation; when that is full it becomes the old one, whose entries are forgotten unless they are
 * asked for before the next turn.
 */
export class Generations<Value> {
  readonly #limits: GenerationLimits;
  #young = new Map<string, Value>();
  #old = new Map<string, Value>();
  #units = 0;

  constructor(limits: GenerationLimits) {
    this.#limits = limits;
  }

  /** Entries of both generations. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(key: string): Value | undefined {
    const value = this.#young.get(key);
    return value === undefined ? this.#promote(key) : value;
  }

  set(key: string, value: Value): void {
    if (this.#young.size >= this.#limits.entriesMax || this.#units >= this.#limits.unitsMax) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#units = 0;
    }
    this.#young.set(key, value);
    this.#units += key.length;
  }

  /** The values of both generations, in no order. */
  *values(): Iterable<Value> {
    yield* this.#young.values();
    yield* this.#old.values();
  }

  clear(): void {
    this.#young = new Map();
    this.#old = new Map();
    this.#units = 0;
  }

  #promote(key: string): Value | undefined {
    const value = this.#old.get(key);
    if (value !== undefined) {
      this.#old.delete(key);
      this.set(key, value);
    }
    return value;
  }
}
