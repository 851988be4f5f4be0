import { murmur3 } from '@robustmq/record';
import { isSubjectKey, subjectLevelsMax } from './subject-safe.ts';

/*
 * Tokens are what the filter of a stored block is asked for (docs/semantics.md 7). They are part of the disk format:
 * a change of a seed or a rule here needs a new version of the block filter.
 *
 *     level i of the key (split at '/')     murmur3-32(level, levelSeed + i)
 *     the whole key                         murmur3-32(key, wholeSeed)
 *     the key does not show in the subject  bareToken (null key, or one that a subject can't hold)
 */
const levelSeed = 0x5eed_0100;
const wholeSeed = 0x5eed_0001;
/** The mark of records whose subject may be the topic's name alone. */
export const bareToken = 0x62a7_e001;
/** The mark of nothing: the answer for a filter that can't match the topic at all. */
const neverToken = 0x4e0e_e002;

/** Topic names are at most this long; a key that fits behind the longest may show in a subject. */
const topicBytesMax = 249;
const longestPrefix = { bytes: topicBytesMax + 1, levels: 1 };

const slash = 0x2f;

/** Takes the tokens of one record; duplicates are its business. */
export interface TokenSink {
  /** `token` is unsigned 32 bit. */
  add(token: number): void;
}

/**
 * Gives `out` the tokens of the record key `key[start, end)`; `start` -1 is the null key. Allocates nothing; one hash
 * over the key's bytes per level and one over all of it.
 */
export function keyTokens(key: Uint8Array, start: number, end: number, out: TokenSink): void {
  if (isBare(key, start, end)) out.add(bareToken);
  if (start < 0) return;
  out.add(wholeToken(key, start, end));
  let at = start;
  for (let level = 0; level < subjectLevelsMax && at <= end; level++) {
    const levelStart = at;
    at = levelEnd(key, levelStart, end);
    out.add(levelToken(key, levelStart, at, level));
    at++;
  }
}

/** Where the level ends that begins at `at`: at the next slash, or at the end. */
export function levelEnd(key: Uint8Array, at: number, end: number): number {
  let position = at | 0;
  while (position < end && key[position] !== slash) position = (position + 1) | 0;
  return position;
}

/** Whether the mark of keys that do not show is among the tokens of this one. */
export function isBare(key: Uint8Array, start: number, end: number): boolean {
  // Judged for the longest topic name, so a key is marked too often rather than too rarely.
  return start < 0 || !isSubjectKey(key, start, end, longestPrefix);
}

/** The token of a whole key, which is not null. */
export function wholeToken(key: Uint8Array, start: number, end: number): number {
  return murmur3(key, start, end, wholeSeed);
}

/** The token of the bytes `key[start, end)` between two slashes. */
export function levelToken(key: Uint8Array, start: number, end: number, level: number): number {
  return murmur3(key, start, end, levelSeed + level);
}

/** Where keys have a token, if it is not a level of them, which is its index. */
export const tokenPlace = { whole: -1, bare: -2, nowhere: -3 } as const;

/** What a subject filter asks for; there is at least one. */
export interface FilterTokens {
  readonly tokens: Uint32Array;
  /** Of each token: the level, or one of `tokenPlace`. */
  readonly places: readonly number[];
}

/**
 * The tokens that every record of `topic` matched by `filter` has, so that a block which certainly lacks one of them
 * holds no match; null when any record may match. A valid filter without wildcards asks for one token.
 */
export function filterTokens(
  topic: { readonly name: string },
  filter: string,
  options: { readonly defaultTopic: string },
): FilterTokens | null {
  const levels = filter.split('/');
  if (topic.name === options.defaultTopic) return levelTokens(levels);
  const first = levels[0] as string;
  if (first === '#') return null;
  if (first !== '+' && first !== topic.name) return oneToken(neverToken, tokenPlace.nowhere);
  // The filter's end is the topic's name: records that show no key.
  if (levels.length === 1) return oneToken(bareToken, tokenPlace.bare);
  return levelTokens(levels.slice(1));
}

/** Tokens of a filter over keys. */
function levelTokens(levels: readonly string[]): FilterTokens | null {
  if (!levels.includes('+') && levels[levels.length - 1] !== '#') {
    return oneToken(hashText(levels.join('/'), wholeSeed), tokenPlace.whole);
  }
  const tokens: number[] = [];
  const places: number[] = [];
  for (let index = 0; index < levels.length; index++) {
    const level = levels[index] as string;
    if (level === '+' || level === '#') continue;
    tokens.push(hashText(level, levelSeed + index));
    places.push(index);
  }
  return tokens.length === 0 ? null : { tokens: Uint32Array.from(tokens), places };
}

function oneToken(token: number, place: number): FilterTokens {
  return { tokens: Uint32Array.of(token), places: [place] };
}

function hashText(text: string, seed: number): number {
  const bytes = Buffer.from(text);
  return murmur3(bytes, 0, bytes.length, seed);
}
