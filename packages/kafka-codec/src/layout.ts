import { assert } from '@robustmq/core';
import type { Field, Fields, FieldType } from './schema.ts';
import { inVersions } from './versions.ts';

/** The version of a message that is being compiled. */
export interface Target {
  readonly version: number;
  readonly flexible: boolean;
}

/** The fields of a structure as one version has them. */
export interface StructLayout {
  /** In wire order. */
  readonly positional: readonly (readonly [name: string, field: Field])[];
  /** In ascending order of their tags, as the wire wants them. */
  readonly tagged: readonly (readonly [name: string, field: Field])[];
  readonly absent: readonly (readonly [name: string, field: Field])[];
}

/** Sorts the fields of a structure into those that a version has by position, by tag, and not at all. */
export function structLayout(fields: Fields, target: Target): StructLayout {
  const entries = Object.entries(fields);
  const present = entries.filter(([, field]) => inVersions(field.versions, target.version));
  const tagged = present
    .filter(([, field]) => field.tag !== undefined)
    .sort(([, a], [, b]) => (a.tag ?? 0) - (b.tag ?? 0));
  assert(target.flexible || tagged.length === 0, 'a tagged field lies in a version without tagged fields');
  return {
    positional: present.filter(([, field]) => field.tag === undefined),
    tagged,
    absent: entries.filter(([, field]) => !inVersions(field.versions, target.version)),
  };
}

export function isNullable(field: Field, target: Target): boolean {
  return field.nullable !== undefined && inVersions(field.nullable, target.version);
}

const fixedBytes: Readonly<Record<string, number>> = {
  int8: 1,
  bool: 1,
  int16: 2,
  uint16: 2,
  int32: 4,
  int64: 8,
  float64: 8,
  uuid: 16,
};

/** Bytes of a type whose values all have the same length, or undefined. */
export function fixedSize(type: FieldType): number | undefined {
  return fixedBytes[type.kind];
}

/** The fewest bytes that a value takes: what one element of an array must at least add to a message. */
export function minimumSize(type: FieldType, target: Target): number {
  const fixed = fixedSize(type);
  if (fixed !== undefined) return fixed;
  if (type.kind !== 'struct') return target.flexible ? 1 : type.kind === 'string' ? 2 : 4;
  let total = target.flexible ? 1 : 0;
  for (const [, field] of structLayout(type.fields, target).positional) {
    const nullableStruct = field.type.kind === 'struct' && isNullable(field, target);
    total += nullableStruct ? 1 : minimumSize(field.type, target);
  }
  assert(total > 0, 'a structure takes no bytes, so that no count of it could be refused');
  return total;
}

/** A fallback as source text. */
export function literal(value: unknown): string {
  if (Buffer.isBuffer(value)) return 'emptyBytes';
  return JSON.stringify(value);
}
