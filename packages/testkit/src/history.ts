/** What a publisher's messages were promised. */
export type Promised = 'at-least-once' | 'exactly-once';

/** Where a message lies in the log. */
export interface LogPlace {
  readonly shard: number;
  readonly offset: number;
}

/** A number of a subject, and where it lies. */
export interface PlacedNumber {
  readonly subject: string;
  readonly number: number;
  readonly place: LogPlace;
}

interface Subject {
  readonly promised: Promised;
  sent: number;
  readonly acknowledged: Set<number>;
  /** Acknowledged numbers whose acknowledgement said where they lie. */
  readonly placed: PlacedNumber[];
  readonly stored: { readonly number: number; readonly place: LogPlace }[];
}

interface Reader {
  /** Exactly once is kept for subjects whose publisher has it too: the lower of both counts. */
  readonly promised: Promised;
  /** Numbers per subject, as they came. */
  readonly given: Map<string, number[]>;
}

/** Most problems that are told of one kind and subject; a broken run would fill pages. */
const problemsMax = 5;

/**
 * What clients sent, were acknowledged and were given, and what the log holds, of a run in which servers die; and whether
 * all that is as promised. Each subject has one publisher, which sends the numbers 0, 1, 2, ...; a number whose outcome
 * is not known may be sent again.
 */
export class History {
  readonly #subjects = new Map<string, Subject>();
  readonly #readers = new Map<string, Reader>();

  /** Names a subject and what its publisher was promised. */
  publisher(subject: string, promised: Promised): void {
    this.#subjects.set(subject, { promised, sent: 0, acknowledged: new Set(), placed: [], stored: [] });
  }

  /** Names a reader that subscribed to every subject before the first message. */
  reader(name: string, promised: Promised): void {
    this.#readers.set(name, { promised, given: new Map() });
  }

  /** The next number to send. */
  send(subject: string): number {
    return this.#subject(subject).sent++;
  }

  /** With the place that the acknowledgement names, if it names one: there the number has to be for ever. */
  acknowledge(subject: string, number: number, place?: LogPlace): void {
    const { acknowledged, placed } = this.#subject(subject);
    acknowledged.add(number);
    if (place !== undefined) placed.push({ subject, number, place });
  }

  /** Numbers whose acknowledgement said where they lie, of all subjects, as of now. */
  placed(): PlacedNumber[] {
    return [...this.#subjects.values()].flatMap(({ placed }) => placed);
  }

  give(reader: string, subject: string, number: number): void {
    const { given } = this.#reader(reader);
    const numbers = given.get(subject);
    if (numbers === undefined) given.set(subject, [number]);
    else numbers.push(number);
  }

  /** Records of the log, each shard in the order of its offsets. */
  store(subject: string, number: number, place: LogPlace): void {
    this.#subject(subject).stored.push({ number, place });
  }

  /** Messages that were acknowledged, of one subject or all. */
  acknowledgedCount(subject?: string): number {
    if (subject !== undefined) return this.#subject(subject).acknowledged.size;
    let count = 0;
    for (const { acknowledged } of this.#subjects.values()) count += acknowledged.size;
    return count;
  }

  /** Messages of the whole run: acknowledged, found in the log, given to readers. */
  counts(): { readonly acknowledged: number; readonly stored: number; readonly given: number } {
    let stored = 0;
    for (const subject of this.#subjects.values()) stored += subject.stored.length;
    let given = 0;
    for (const reader of this.#readers.values()) {
      for (const numbers of reader.given.values()) given += numbers.length;
    }
    return { acknowledged: this.acknowledgedCount(), stored, given };
  }

  /** The highest acknowledged number, -1 for none. */
  lastAcknowledged(subject: string): number {
    let last = -1;
    for (const number of this.#subject(subject).acknowledged) last = Math.max(last, number);
    return last;
  }

  /** Whether the reader was given everything that was acknowledged. */
  isComplete(reader: string): boolean {
    const { given } = this.#reader(reader);
    for (const [name, { acknowledged }] of this.#subjects) {
      const have = new Set(given.get(name));
      for (const number of acknowledged) if (!have.has(number)) return false;
    }
    return true;
  }

  /** Everything that breaks a promise, in words; empty: all is well. */
  problems(): string[] {
    const problems: string[] = [];
    for (const [name, subject] of this.#subjects) {
      problems.push(...logProblems(name, subject));
      for (const [reader, { promised, given }] of this.#readers) {
        const numbers = given.get(name) ?? [];
        const where = `${reader}: ${name}`;
        problems.push(
          ...told(where, 'was never given', missing(subject.acknowledged, numbers)),
          ...told(where, 'was given but is not in the log', strangers(subject, numbers)),
          ...orderProblems(where, numbers, promised === 'exactly-once' && subject.promised === promised),
        );
      }
    }
    return problems;
  }

  #subject(name: string): Subject {
    const subject = this.#subjects.get(name);
    if (subject === undefined) throw new Error(`${name} has no publisher`);
    return subject;
  }

  #reader(name: string): Reader {
    const reader = this.#readers.get(name);
    if (reader === undefined) throw new Error(`there is no reader ${name}`);
    return reader;
  }
}

/** Which numbers are not where an acknowledgement or an earlier look said, in words, among all that the log holds. */
export function misplaced(known: readonly PlacedNumber[], stored: readonly PlacedNumber[]): string[] {
  const found = new Set(stored.map(nameOfPlaced));
  const moved = new Map<string, PlacedNumber[]>();
  for (const one of known) {
    if (found.has(nameOfPlaced(one))) continue;
    const others = moved.get(one.subject);
    if (others === undefined) moved.set(one.subject, [one]);
    else others.push(one);
  }
  return [...moved].flatMap(([subject, all]) => {
    const places = all.map(({ number, place }) => `${number} at ${place.shard}/${place.offset}`);
    return told(`log: ${subject}`, 'was acknowledged or read and is not there', places);
  });
}

function nameOfPlaced({ subject, number, place }: PlacedNumber): string {
  return `${subject} ${number} ${place.shard}/${place.offset}`;
}

function logProblems(name: string, { promised, sent, acknowledged, placed, stored }: Subject): string[] {
  const numbers = stored.map(({ number }) => number);
  const places = stored.map(({ place }) => `${place.shard}/${place.offset}`);
  const shards = new Set(stored.map(({ place }) => place.shard));
  const where = `log: ${name}`;
  return [
    ...told(where, 'was acknowledged and is not there', missing(acknowledged, numbers)),
    ...told(
      where,
      'was never sent',
      numbers.filter((number) => number < 0 || number >= sent),
    ),
    ...(shards.size > 1 ? [`${where} lies in shards ${[...shards].join(', ')}`] : []),
    ...(new Set(places).size < places.length ? [`${where} has two records at one offset`] : []),
    ...misplaced(
      placed,
      stored.map((record) => ({ subject: name, ...record })),
    ),
    ...orderProblems(where, numbers, promised === 'exactly-once'),
  ];
}

/** A number may come again unless `once`; what comes for the first time has to be higher than all before. */
function orderProblems(where: string, numbers: readonly number[], once: boolean): string[] {
  const seen = new Set<number>();
  const late: number[] = [];
  const again: number[] = [];
  let highest = -1;
  for (const number of numbers) {
    if (seen.has(number)) again.push(number);
    else if (number < highest) late.push(number);
    seen.add(number);
    highest = Math.max(highest, number);
  }
  return [
    ...told(where, 'came after a higher number', late),
    ...(once ? told(where, 'came more than once', again) : []),
  ];
}

function missing(wanted: ReadonlySet<number>, have: readonly number[]): number[] {
  const set = new Set(have);
  return [...wanted].filter((number) => !set.has(number));
}

function strangers({ stored }: Subject, given: readonly number[]): number[] {
  const known = new Set(stored.map(({ number }) => number));
  return [...new Set(given)].filter((number) => !known.has(number));
}

function told(where: string, what: string, numbers: readonly (number | string)[]): string[] {
  const shown = numbers.slice(0, problemsMax).map((number) => `${where} ${number} ${what}`);
  const rest = numbers.length - shown.length;
  return rest > 0 ? [...shown, `${where}: ${rest} more like that`] : shown;
}
