import type { Message } from './api.ts';
import { fixedSize, isNullable, literal, minimumSize, structLayout, type Target } from './layout.ts';
import type { Field, Fields, FieldType } from './schema.ts';
import { Source } from './source.ts';
import * as wire from './wire.ts';

/**
 * Decodes a message that starts at `p`. `left` bounds the array elements of the whole message: a structure of two
 * bytes becomes an object of fifty, so the length of the frame alone does not bound the memory.
 */
export type DecodeFunction = (b: Buffer, p: number, left: number) => unknown;

/** What generated decoders may call; nothing else is in their scope. */
const scope = { ...wire, emptyBytes: Buffer.alloc(0), copyBytes };

function copyBytes(b: Buffer, start: number, end: number): Buffer {
  return Buffer.from(b.subarray(start, end));
}

/**
 * Compiles the decoder of one version. Interpreting the schema for every message costs several times the decoding
 * itself, and writing 200 decoders by hand or keeping them as files hides the schema behind its own output; so the
 * function is generated on first use. Its text comes from schema constants only, never from input.
 */
export function compileDecoder(message: Message, version: number): DecodeFunction {
  const body = decoderSource(message, version);
  const make = new Function(
    'scope',
    `'use strict';\nconst {${Object.keys(scope).join(', ')}} = scope;\nreturn ${body}`,
  );
  return make(scope) as DecodeFunction;
}

/** The text of the decoder of one version, for reading and for golden tests. */
export function decoderSource(message: Message, version: number): string {
  const target: Target = { version, flexible: version >= message.flexible };
  const source = new Source();
  source.block(`function decode${message.name}V${version}(b, p, left)`, () => {
    source.line('const e = b.length;');
    source.line('let n = 0;');
    const result = emitStruct(source, message.fields, target);
    source.line(`return ${result};`);
  });
  return source.toString();
}

/** Emits the reads of a structure; returns the object literal of its values. */
function emitStruct(source: Source, fields: Fields, target: Target): string {
  const layout = structLayout(fields, target);
  const values = new Map<string, string>();
  for (const [name, field] of layout.absent) values.set(name, literal(field.fallback));
  let at = 0;
  while (at < layout.positional.length) {
    const run = fixedRun(layout.positional, at, target);
    if (run > 0) {
      emitFixedRun(source, layout.positional.slice(at, at + run), values);
      at += run;
      continue;
    }
    const [name, field] = layout.positional[at] as readonly [string, Field];
    values.set(name, emitValue(source, name, field.type, { target, nullable: isNullable(field, target) }));
    at++;
  }
  if (target.flexible) emitTagged(source, layout.tagged, target, values);
  // In schema order whatever the version, so that all versions give objects of one hidden class.
  return `{ ${Object.keys(fields)
    .map((name) => `${name}: ${values.get(name)}`)
    .join(', ')} }`;
}

type Named = readonly [name: string, field: Field];

/** How many fields from `at` on have a fixed size. */
function fixedRun(fields: readonly Named[], at: number, target: Target): number {
  let end = at;
  for (let next = fields[end]; next !== undefined; next = fields[++end]) {
    if (fixedSize(next[1].type) === undefined || isNullable(next[1], target)) break;
  }
  return end - at;
}

/** One look at the end of the message for a whole run of fixed-size fields. */
function emitFixedRun(source: Source, run: readonly Named[], values: Map<string, string>): void {
  const total = run.reduce((sum, [, field]) => sum + (fixedSize(field.type) ?? 0), 0);
  source.line(`if (e - p < ${total}) short(p, e);`);
  let offset = 0;
  for (const [name, field] of run) {
    const local = source.local(name);
    source.line(`const ${local} = ${field.type.kind}(b, p${offset === 0 ? '' : ` + ${offset}`});`);
    values.set(name, local);
    offset += fixedSize(field.type) ?? 0;
  }
  source.line(`p += ${total};`);
}

/** Emits the read of one value; returns the local that holds it. */
function emitValue(
  source: Source,
  name: string,
  type: FieldType,
  how: { target: Target; nullable: boolean },
): string {
  const local = source.local(name);
  const nullable = how.nullable;
  const assign = nullable ? `${local} = ` : `const ${local} = `;
  if (nullable) source.line(`let ${local} = null;`);
  const guarded = (body: () => void): void => {
    if (nullable) source.block('if (n >= 0)', body);
    else body();
  };
  const { target } = how;
  if (type.kind === 'struct') {
    if (nullable) {
      source.line('if (e - p < 1) short(p, e);');
      source.line('n = int8(b, p);');
      source.line('p += 1;');
    }
    guarded(() => source.line(`${assign}${emitStruct(source, type.fields, target)};`));
  } else if (type.kind === 'array') {
    emitPrefix(source, { kind: 'Count', nullable, target, minimum: minimumSize(type.element, target) });
    guarded(() => {
      source.line("if ((left -= n) < 0) excess(p, 'a message has too many array elements');");
      source.line(`${assign}[];`);
      emitElements(source, local, type.element, target);
    });
  } else if (fixedSize(type) !== undefined) {
    source.line(`if (e - p < ${fixedSize(type)}) short(p, e);`);
    source.line(`${assign}${type.kind}(b, p);`);
    source.line(`p += ${fixedSize(type)};`);
  } else {
    emitPrefix(source, { kind: 'Length', nullable, target, text: type.kind === 'string' });
    guarded(() => {
      source.line(`${assign}${contents(type.kind)};`);
      source.line('p += n;');
    });
  }
  return local;
}

function contents(kind: string): string {
  if (kind === 'string') return 'text(b, p, n)';
  return kind === 'bytes' ? 'copyBytes(b, p, p + n)' : 'b.subarray(p, p + n)';
}

/** Emits the read of a checked length or count into `n`. */
function emitPrefix(
  source: Source,
  how: { kind: 'Length' | 'Count'; nullable: boolean; target: Target; text?: boolean; minimum?: number },
): void {
  const compact = how.target.flexible;
  const width = how.text === true ? 16 : 32;
  const stem = compact ? `compact${how.kind}` : `${how.kind.toLowerCase()}${width}`;
  const name = how.nullable ? `nullable${stem[0]?.toUpperCase()}${stem.slice(1)}` : stem;
  const minimum = how.minimum === undefined ? '' : `, ${how.minimum}`;
  source.line(`n = ${name}(b, p, e${minimum});`);
  source.line(compact ? 'p = afterUvarint(b, p);' : `p += ${width / 8};`);
}

function emitElements(source: Source, list: string, element: FieldType, target: Target): void {
  const index = source.local('i');
  source.block(`for (let ${index} = n; ${index} > 0; ${index}--)`, () => {
    const size = fixedSize(element);
    if (size !== undefined) {
      // The count was checked against this very size.
      source.line(`${list}.push(${element.kind}(b, p));`);
      source.line(`p += ${size};`);
    } else if (element.kind === 'struct') {
      const value = emitStruct(source, element.fields, target);
      source.line(`${list}.push(${value});`);
    } else {
      const value = emitValue(source, 'element', element, { target, nullable: false });
      source.line(`${list}.push(${value});`);
    }
  });
}

/** Emits the section of tagged fields; those that this codec does not know are stepped over. */
function emitTagged(
  source: Source,
  fields: readonly Named[],
  target: Target,
  values: Map<string, string>,
): void {
  if (fields.length === 0) {
    source.line('p = skipTags(b, p, e);');
    return;
  }
  for (const [name, field] of fields) {
    const local = source.local(name);
    source.line(`let ${local} = ${literal(field.fallback)};`);
    values.set(name, local);
  }
  const [index, tag, end] = [source.local('i'), source.local('tag'), source.local('end')];
  source.line('n = tagCount(b, p, e);');
  source.line('p = afterUvarint(b, p);');
  source.block(`for (let ${index} = n; ${index} > 0; ${index}--)`, () => {
    source.line(`const ${tag} = uvarint(b, p, e);`);
    source.line('p = afterUvarint(b, p);');
    source.line('n = tagSize(b, p, e);');
    source.line('p = afterUvarint(b, p);');
    source.line(`const ${end} = p + n;`);
    source.block(`switch (${tag})`, () => {
      for (const [name, field] of fields) {
        source.block(`case ${field.tag}:`, () => {
          const value = emitValue(source, name, field.type, { target, nullable: isNullable(field, target) });
          source.line(`${values.get(name)} = ${value};`);
          source.line('break;');
        });
      }
      source.line(`default: p = ${end};`);
    });
    source.line(`if (p !== ${end}) malformed(p, 'a tagged field has not the size that it states');`);
  });
}
