import { assert } from '@robustmq/core';

/** A closed range of API versions; `max` is `Infinity` for an open end. */
export interface VersionRange {
  readonly min: number;
  readonly max: number;
}

/** Parses `'3'`, `'3+'` or `'3-7'`, the way a schema writes the versions in which something exists. */
export function versionRange(text: string): VersionRange {
  const match = /^(\d+)(?:(\+)|-(\d+))?$/.exec(text);
  assert(match !== null, `a schema holds the version range '${text}'`);
  const min = Number(match[1]);
  if (match[2] !== undefined) return { min, max: Infinity };
  return { min, max: match[3] === undefined ? min : Number(match[3]) };
}

/** True if `version` lies in the range that `text` describes. */
export function inVersions(text: string, version: number): boolean {
  const range = versionRange(text);
  return version >= range.min && version <= range.max;
}
