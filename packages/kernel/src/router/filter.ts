import type { TopicRecord } from '../ports/metadata.ts';
import { isSubjectSafe, levelsOf, subjectBytesMax, subjectLevelsMax } from '../names/subject-safe.ts';
import { takesRootWildcards } from '../names/topic-naming.ts';

/**
 * Whether `filter` may be subscribed: subject-safe, 1 to 4,096 bytes, at most 128 levels, `+` only as a whole level
 * and `#` only as the whole last one.
 */
export function isSubjectFilter(filter: string): boolean {
  if (filter.length === 0 || filter.length > subjectBytesMax || !isSubjectSafe(filter)) return false;
  if (Buffer.byteLength(filter) > subjectBytesMax || levelsOf(filter) > subjectLevelsMax) return false;
  const last = filter.length - 1;
  for (let at = 0; at <= last; at++) {
    const char = filter[at];
    if (char !== '+' && char !== '#') continue;
    const alone = (at === 0 || filter[at - 1] === '/') && (at === last || filter[at + 1] === '/');
    if (!alone || (char === '#' && at !== last)) return false;
  }
  return true;
}

/** Whether a valid filter has a wildcard; without one it matches the subject of its own name only. */
export function isWildcardFilter(filter: string): boolean {
  return filter.includes('+') || filter.endsWith('#');
}

/** The first level of a filter or a subject. */
export function firstLevel(name: string): string {
  const end = name.indexOf('/');
  return end < 0 ? name : name.slice(0, end);
}

/**
 * Whether a valid filter matches a subject, level by level: `+` is any one level, also an empty one; `#` is any
 * number of levels, also none; a wildcard in the first level never matches a subject that begins with `$`. The
 * definition that `FilterIndex` is measured by, and what a filtered reader asks for each record.
 */
export function filterMatches(filter: string, subject: string): boolean {
  if (subject.startsWith('$') && (filter.startsWith('+') || filter.startsWith('#'))) return false;
  let filterAt = 0;
  let subjectAt = 0;
  for (;;) {
    const filterEnd = endOfLevel(filter, filterAt);
    const wildcard = filterEnd - filterAt === 1 ? filter[filterAt] : '';
    if (wildcard === '#') return true;
    const subjectEnd = endOfLevel(subject, subjectAt);
    if (wildcard !== '+') {
      const length = filterEnd - filterAt;
      if (subjectEnd - subjectAt !== length) return false;
      if (!subject.startsWith(filter.slice(filterAt, filterEnd), subjectAt)) return false;
    }
    const subjectDone = subjectEnd === subject.length;
    if (filterEnd === filter.length) return subjectDone;
    // The filter goes on where the subject ends: only a final `#` takes no level.
    if (subjectDone) return filter.length === filterEnd + 2 && filter[filterEnd + 1] === '#';
    filterAt = filterEnd + 1;
    subjectAt = subjectEnd + 1;
  }
}

/**
 * Whether some subject of `topic` could match the filter: which shards a reader of the filter has to read. Source:
 * docs/semantics.md 1.4.
 */
export function filterMayMatchTopic(filter: string, topic: TopicRecord, defaultTopic: string): boolean {
  if (topic.internal) return false;
  const first = firstLevel(filter);
  if (topic.name === defaultTopic) return !first.startsWith('$');
  if (first === topic.name) return true;
  return (
    (first === '+' || first === '#') && takesRootWildcards(topic, defaultTopic) && !topic.name.startsWith('$')
  );
}

function endOfLevel(name: string, at: number): number {
  const end = name.indexOf('/', at);
  return end < 0 ? name.length : end;
}
