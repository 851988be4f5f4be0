import { codecError, malformed, type MqttCodecErrorCode } from './error.ts';
import type { RobustError } from '@robustmq/core';
import { isSafeText, scanText } from './text.ts';

/** Most levels of a topic name or filter. */
export const topicLevelsMax = 128;
/** Most bytes of a topic name or filter. */
export const topicBytesMax = 4096;

/** Why a topic name or filter is refused. */
export type TopicProblem = 'empty' | 'unsafe' | 'wildcard' | 'share' | 'tooLong' | 'tooDeep';

const slash = 0x2f;
const plus = 0x2b;
const hash = 0x23;

/** Classes of bytes in a topic name, so that its scan is one lookup and one test a byte. */
const topicByte = new Uint8Array(256).fill(4, 0x80);
topicByte.fill(1, 0, 0x20);
topicByte[0x7f] = 1;
topicByte[plus] = 2;
topicByte[hash] = 2;
topicByte[slash] = 3;

const problems = ['empty', 'unsafe', 'wildcard', 'tooLong', 'tooDeep'] as const;

/**
 * Scans a topic name: 0 when it is good ASCII, 1 when good with other characters, else -1 minus an index into
 * `problems`. Runs for every PUBLISH, so it makes nothing and returns a number.
 */
export function scanTopicName(bytes: Uint8Array, start: number, end: number): number {
  if (start === end) return -1;
  if (end - start > topicBytesMax) return -4;
  let levels = 1;
  let wide = 0;
  for (let at = start; at < end; at++) {
    const kind = topicByte[bytes[at]!]!;
    if (kind === 0) continue;
    if (kind === 3) levels++;
    else if (kind === 4) wide = 1;
    else return kind === 1 ? -2 : -3;
  }
  if (levels > topicLevelsMax) return -5;
  if (wide === 1 && scanText(bytes, start, end) < 0) return -2;
  return wide;
}

/** The error for a negative answer of `scanTopicName`. */
export function topicNameError(scan: number, field: string): RobustError<MqttCodecErrorCode> {
  const problem = problems[-1 - scan];
  if (problem === 'tooLong' || problem === 'tooDeep') {
    return codecError('MQTT_TOPIC_INVALID', `${field} is beyond the limits`, { problem });
  }
  return malformed(`${field} is no topic name: ${problem}`);
}

/** Checks a topic name (MQTT-4.7): not empty, MQTT-safe, no wildcard, within the limits. Null when it is good. */
export function validateTopicName(name: Uint8Array | string): TopicProblem | null {
  const bytes = typeof name === 'string' ? Buffer.from(name) : name;
  if (typeof name === 'string' && !isSafeText(name)) return 'unsafe';
  const scan = scanTopicName(bytes, 0, bytes.length);
  return scan >= 0 ? null : problems[-1 - scan]!;
}

/** A shared subscription's group and the filter behind it. */
export interface SharedFilter {
  group: string;
  filter: string;
}

const sharePrefix = '$share/';

/** Splits `$share/group/filter`; null for an ordinary filter. The filter must have been validated. */
export function parseSharedFilter(filter: string): SharedFilter | null {
  if (!filter.startsWith(sharePrefix)) return null;
  const end = filter.indexOf('/', sharePrefix.length);
  return { group: filter.slice(sharePrefix.length, end), filter: filter.slice(end + 1) };
}

/**
 * Checks a topic filter (MQTT-4.7.1, MQTT-4.8.2 for `$share/`): not empty, MQTT-safe, `+` alone in its level, `#` alone in
 * the last one, within the limits. Null when it is good.
 */
export function validateTopicFilter(filter: string): TopicProblem | null {
  if (filter.length === 0) return 'empty';
  if (filter.length > topicBytesMax || Buffer.byteLength(filter) > topicBytesMax) return 'tooLong';
  if (!isSafeText(filter)) return 'unsafe';
  let start = 0;
  if (filter.startsWith(sharePrefix)) {
    const end = filter.indexOf('/', sharePrefix.length);
    if (end <= sharePrefix.length || end === filter.length - 1) return 'share';
    for (let at = sharePrefix.length; at < end; at++) {
      const unit = filter.charCodeAt(at);
      if (unit === plus || unit === hash) return 'share';
    }
    start = end + 1;
  }
  return validateWildcards(filter, start);
}

function validateWildcards(filter: string, start: number): TopicProblem | null {
  let levels = 1;
  for (let at = start; at < filter.length; at++) {
    const unit = filter.charCodeAt(at);
    if (unit === slash) {
      levels++;
    } else if (unit === plus || unit === hash) {
      const begins = at === start || filter.charCodeAt(at - 1) === slash;
      const last = at === filter.length - 1;
      const ends = last || (unit === plus && filter.charCodeAt(at + 1) === slash);
      if (!begins || !ends) return 'wildcard';
    }
  }
  return levels > topicLevelsMax ? 'tooDeep' : null;
}

/** Throws what a peer's bad filter deserves. */
export function checkTopicFilter(filter: string): void {
  const problem = validateTopicFilter(filter);
  if (problem === null) return;
  if (problem === 'tooLong' || problem === 'tooDeep') {
    throw codecError('MQTT_FILTER_INVALID', 'a topic filter is beyond the limits', { problem });
  }
  throw malformed(`a topic filter is not valid: ${problem}`);
}
