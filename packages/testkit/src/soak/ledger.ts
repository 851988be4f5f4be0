/** Whole numbers from 0 of which nearly all lower ones are in: a floor, and those above it. */
class Numbers {
  /** All below are in. */
  floor = 0;
  readonly above = new Set<number>();

  add(number: number): boolean {
    if (number < this.floor || this.above.has(number)) return false;
    this.above.add(number);
    while (this.above.delete(this.floor)) this.floor++;
    return true;
  }

  has(number: number): boolean {
    return number < this.floor || this.above.has(number);
  }

  get count(): number {
    return this.floor + this.above.size;
  }

  /** Up to `max` numbers that `all` has and this has not. */
  missingOf(all: Numbers, max: number): number[] {
    const missing: number[] = [];
    for (let number = this.floor; number < all.floor && missing.length < max; number++) {
      if (!this.has(number)) missing.push(number);
    }
    for (const number of all.above) {
      if (missing.length < max && !this.has(number)) missing.push(number);
    }
    return missing;
  }
}

const shownMax = 5;
const repeatedMax = 100;

/**
 * What was acknowledged to publishers and what readers were given, for soaks of hours: memory follows what is
 * under way, not what was. A publisher of a subject sends 0, 1, 2, ... and each number again until it is acknowledged.
 */
export class Ledger {
  readonly #acknowledged = new Map<string, Numbers>();
  readonly #given = new Map<string, Map<string, Numbers>>();
  readonly #once = new Map<string, Set<string>>();
  readonly #repeated: string[] = [];
  #twice = 0;

  acknowledge(subject: string, number: number): void {
    numbersOf(this.#acknowledged, subject).add(number);
  }

  /** Names a reader that gets everything of a subject; with `once`, nothing of it for a second time. */
  read(reader: string, subject: string, { once = false }: { readonly once?: boolean } = {}): void {
    let subjects = this.#given.get(reader);
    if (subjects === undefined) this.#given.set(reader, (subjects = new Map()));
    numbersOf(subjects, subject);
    if (!once) return;
    const onces = this.#once.get(reader) ?? new Set();
    this.#once.set(reader, onces.add(subject));
  }

  /**
   * A message for a reader; subjects that it was not named for are not counted. `again`: it is known to be given for a
   * second time as it may be, as by a log that is read from an earlier offset.
   */
  give(reader: string, subject: string, number: number, again = false): void {
    const numbers = this.#given.get(reader)?.get(subject);
    if (numbers === undefined || numbers.add(number)) return;
    if (again || this.#once.get(reader)?.has(subject) !== true) this.#twice++;
    else if (this.#repeated.length < repeatedMax)
      this.#repeated.push(`${reader} was given ${number} of ${subject} twice`);
  }

  get acknowledged(): number {
    return total(this.#acknowledged.values());
  }

  get delivered(): number {
    return [...this.#given.values()].reduce((sum, subjects) => sum + total(subjects.values()), 0);
  }

  /** What was given twice and may be given once only, in words: the first of it. */
  get repeated(): readonly string[] {
    return this.#repeated;
  }

  /** Messages that a reader was given before, as it may be. */
  get twice(): number {
    return this.#twice;
  }

  /** What was acknowledged and not given to a reader, in words. */
  missing(): string[] {
    const problems: string[] = [];
    for (const [reader, subjects] of this.#given) {
      for (const [subject, given] of subjects) {
        const acknowledged = this.#acknowledged.get(subject);
        const missing = acknowledged === undefined ? [] : given.missingOf(acknowledged, shownMax);
        if (missing.length === 0) continue;
        const of = `${acknowledged?.count ?? 0} acknowledged of ${subject}`;
        problems.push(`${reader} was not given ${missing.join(', ')} of the ${of}`);
      }
    }
    return problems;
  }
}

function numbersOf(map: Map<string, Numbers>, subject: string): Numbers {
  let numbers = map.get(subject);
  if (numbers === undefined) map.set(subject, (numbers = new Numbers()));
  return numbers;
}

function total(all: Iterable<Numbers>): number {
  let sum = 0;
  for (const { count } of all) sum += count;
  return sum;
}
