import type { Message } from './api.ts';
import { fixedSize, isNullable, literal, structLayout, type Target } from './layout.ts';
import type { PieceWriter } from './piece-writer.ts';
import type { Field, Fields, FieldType } from './schema.ts';
import { Source } from './source.ts';

/** Writes a message's body behind what the writer holds already. */
export type EncodeFunction = (w: PieceWriter, o: unknown) => void;

/** What generated encoders may use; nothing else is in their scope. */
const scope = { emptyBytes: Buffer.alloc(0) };

/** Compiles the encoder of one version, for the reasons given at `compileDecoder`. */
export function compileEncoder(message: Message, version: number): EncodeFunction {
  const body = encoderSource(message, version);
  const make = new Function('scope', `'use strict';\nconst { emptyBytes } = scope;\nreturn ${body}`);
  return make(scope) as EncodeFunction;
}

/** The text of the encoder of one version, for reading and for golden tests. */
export function encoderSource(message: Message, version: number): string {
  const target: Target = { version, flexible: version >= message.flexible };
  const source = new Source();
  source.block(`function encode${message.name}V${version}(w, o)`, () => {
    new EncoderEmitter(source, target).struct(message.fields, 'o', message.name);
  });
  return source.toString();
}

class EncoderEmitter {
  readonly #source: Source;
  readonly #target: Target;

  constructor(source: Source, target: Target) {
    this.#source = source;
    this.#target = target;
  }

  /** Emits the writes of all fields of the object that the local `from` holds. */
  struct(fields: Fields, from: string, path: string): void {
    const layout = structLayout(fields, this.#target);
    for (const [name, field] of layout.absent) {
      if (!field.ignorable) this.#refuse(name, field, { from, path });
    }
    for (const [name, field] of layout.positional) {
      const local = this.#load(name, field, from);
      this.#value(field.type, local, { nullable: isNullable(field, this.#target), path: `${path}.${name}` });
    }
    if (this.#target.flexible) this.#tagged(layout.tagged, from, path);
  }

  /** Emits a local with the field's value, or its fallback where the caller may leave it out. */
  #load(name: string, field: Field, from: string): string {
    const local = this.#source.local(name);
    this.#source.line(`${field.optional ? 'let' : 'const'} ${local} = ${from}.${name};`);
    if (field.optional)
      this.#source.line(`if (${local} === undefined) ${local} = ${literal(field.fallback)};`);
    return local;
  }

  /** A value that this version cannot carry is an error unless it says no more than its absence does. */
  #refuse(name: string, field: Field, where: { from: string; path: string }): void {
    const local = this.#source.local(name);
    this.#source.line(`const ${local} = ${where.from}.${name};`);
    this.#source.line(`if (${differs(field, local)}) w.unsupported('${where.path}.${name}');`);
  }

  #value(type: FieldType, local: string, how: { nullable: boolean; path: string }): void {
    const { nullable, path } = how;
    const source = this.#source;
    if (!nullable && fixedSize(type) === undefined)
      source.line(`if (${local} == null) w.notNull('${path}');`);
    else if (nullable && isComposite(type)) source.line(`if (${local} === undefined) w.notNull('${path}');`);
    if (type.kind === 'array') {
      const write = this.#target.flexible ? 'compactCount' : 'count';
      source.line(`w.${write}(${nullable ? `${local} === null ? -1 : ` : ''}${local}.length);`);
      if (nullable) source.block(`if (${local} !== null)`, () => this.#elements(type.element, local, path));
      else this.#elements(type.element, local, path);
    } else if (type.kind === 'struct') {
      if (nullable) source.line(`w.int8(${local} === null ? -1 : 1, '${path}');`);
      if (nullable) source.block(`if (${local} !== null)`, () => this.struct(type.fields, local, path));
      else this.struct(type.fields, local, path);
    } else if (fixedSize(type) !== undefined) {
      source.line(`w.${type.kind}(${local}, '${path}');`);
    } else {
      const kind = this.#target.flexible
        ? `compact${type.kind[0]?.toUpperCase()}${type.kind.slice(1)}`
        : type.kind;
      source.line(`w.${kind}(${local}, '${path}');`);
    }
  }

  #elements(element: FieldType, list: string, path: string): void {
    const index = this.#source.local('i');
    this.#source.block(`for (let ${index} = 0; ${index} < ${list}.length; ${index}++)`, () => {
      const local = this.#source.local('element');
      this.#source.line(`const ${local} = ${list}[${index}];`);
      this.#value(element, local, { nullable: false, path });
    });
  }

  /** Tagged fields go last, in ascending order, and only those that differ from their fallback. */
  #tagged(fields: readonly (readonly [string, Field])[], from: string, path: string): void {
    const source = this.#source;
    if (fields.length === 0) {
      source.line('w.uvarint(0);');
      return;
    }
    const sent = fields.map(([name, field]) => {
      const local = source.local(name);
      const flag = source.local('sent');
      source.line(`const ${local} = ${from}.${name};`);
      source.line(`const ${flag} = ${differs(field, local)};`);
      return { name, field, local, flag };
    });
    source.line(`w.uvarint(${sent.map(({ flag }) => `(${flag} ? 1 : 0)`).join(' + ')});`);
    for (const { name, field, local, flag } of sent) {
      source.block(`if (${flag})`, () => {
        const mark = source.local('mark');
        source.line(`w.uvarint(${field.tag});`);
        source.line(`const ${mark} = w.openSized();`);
        const nullable = isNullable(field, this.#target);
        this.#value(field.type, local, { nullable, path: `${path}.${name}` });
        source.line(`w.closeSized(${mark});`);
      });
    }
  }
}

function isComposite(type: FieldType): boolean {
  return type.kind === 'array' || type.kind === 'struct';
}

/** An expression that is true if the value in `local` is there and says something else than the fallback. */
function differs(field: Field, local: string): string {
  const { type, fallback } = field;
  const there = `${local} !== undefined`;
  if (fallback === null) return `${there} && ${local} !== null`;
  if (type.kind === 'array' || type.kind === 'bytes') {
    return `${there} && (${local} === null || ${local}.length !== 0)`;
  }
  if (type.kind !== 'struct') return `${there} && ${local} !== ${literal(fallback)}`;
  const parts = Object.entries(type.fields).map(([name, member]) => differs(member, `${local}.${name}`));
  return `${there} && (${[`${local} === null`, ...parts].join(' || ')})`;
}
