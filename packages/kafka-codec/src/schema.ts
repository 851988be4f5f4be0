import { zeroUuid } from './wire.ts';

/** The types of the protocol that have no parts. */
export type ScalarKind =
  | 'int8'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'uint16'
  | 'float64'
  | 'bool'
  | 'string'
  | 'bytes'
  | 'records'
  | 'uuid';

/** The shape of a field's value. */
export type FieldType =
  | { readonly kind: ScalarKind }
  | { readonly kind: 'array'; readonly element: FieldType }
  | { readonly kind: 'struct'; readonly fields: Fields };

/**
 * One field of a message. The three type parameters exist for the compiler only: what decoding gives, what
 * encoding takes, and whether the caller of the encoder may leave the field out.
 */
export interface Field<Out = unknown, In = unknown, Optional extends boolean = boolean> {
  readonly type: FieldType;
  /** The versions that have the field, as `'3+'`, `'0-7'` or `'2'`. */
  readonly versions: string;
  /** The versions in which the value may be null; undefined if none. */
  readonly nullable: string | undefined;
  /** What a version without the field reads as, and what a tagged field is left out for. */
  readonly fallback: unknown;
  /** Whether a version without the field may silently drop a value that is not the fallback. */
  readonly ignorable: boolean;
  /** The number of a tagged field (in every version that has it); undefined for a positional one. */
  readonly tag: number | undefined;
  readonly optional: Optional;
  readonly out?: Out;
  readonly input?: In;
}

/** Fields by name, in wire order. */
export type Fields = Readonly<Record<string, Field>>;

interface FieldOptions<T> {
  readonly nullable?: string;
  readonly default?: T | null;
  readonly ignorable?: boolean;
  readonly tag?: number;
}

type NoOptions = Readonly<Record<never, never>>;
type Nullable<T, O> = O extends { readonly nullable: string } ? T | null : T;

/** A field may be left out when a version may lack it, or when it states its own default. */
type Omittable<V, O> = V extends '0+'
  ? O extends { readonly default: unknown } | { readonly tag: number }
    ? true
    : false
  : true;

/** The value that decoding gives for `F`: every field of every version, absent ones as their default. */
export type Decoded<F extends Fields> = {
  [K in keyof F]: F[K] extends Field<infer Out, unknown, boolean> ? Out : never;
};

type OmittableKey<F extends Fields> = {
  [K in keyof F]: F[K] extends Field<unknown, unknown, true> ? K : never;
}[keyof F];

type Input<T> = T extends Field<unknown, infer In, boolean> ? In : never;

/** The value that encoding takes for `F`: fields of every version are required, the others may be left out. */
export type Encodable<F extends Fields> = {
  readonly [K in Exclude<keyof F, OmittableKey<F>>]: Input<F[K]>;
} & {
  readonly [K in OmittableKey<F>]?: Input<F[K]> | undefined;
};

function field<Out, In, Optional extends boolean>(
  type: FieldType,
  zero: unknown,
  versions: string | undefined,
  options: FieldOptions<unknown> | undefined,
): Field<Out, In, Optional> {
  const omittable =
    (versions ?? '0+') !== '0+' || options?.default !== undefined || options?.tag !== undefined;
  return {
    type,
    versions: versions ?? '0+',
    nullable: options?.nullable,
    fallback: options?.default === undefined ? zero : options.default,
    ignorable: options?.ignorable ?? false,
    tag: options?.tag,
    // The type-level `Omittable` computes the same from the literal types.
    optional: omittable as Optional,
  };
}

function scalar<T, In = T>(kind: ScalarKind, zero: T | null) {
  return <const V extends string = '0+', const O extends FieldOptions<T> = NoOptions>(
    versions?: V,
    options?: O,
  ): Field<Nullable<T, O>, Nullable<In, O>, Omittable<V, O>> => field({ kind }, zero, versions, options);
}

export const int8 = scalar<number>('int8', 0);
export const int16 = scalar<number>('int16', 0);
export const int32 = scalar<number>('int32', 0);
/** A safe integer; the maximum int64 of the wire is `maxInt64`, any other unsafe value is an error. */
export const int64 = scalar<number>('int64', 0);
export const uint16 = scalar<number>('uint16', 0);
export const float64 = scalar<number>('float64', 0);
export const bool = scalar<boolean>('bool', false);
export const string = scalar<string>('string', '');
/** Decoded as a copy, so that what is kept does not pin the frame. */
export const bytes = scalar<Buffer>('bytes', Buffer.alloc(0));
/** Opaque record batches: decoded as a view of the frame, encoded from one buffer or from gathered slices. */
export const records = scalar<Buffer, Buffer | readonly Buffer[]>('records', null);
/** 32 lower-case hexadecimal digits; `zeroUuid` means none. */
export const uuid = scalar<string>('uuid', zeroUuid);

/** A nested structure. Null on the wire is a marker byte in front. */
export function struct<
  F extends Fields,
  const V extends string = '0+',
  const O extends FieldOptions<null> = NoOptions,
>(
  fields: F,
  versions?: V,
  options?: O,
): Field<Nullable<Decoded<F>, O>, Nullable<Encodable<F>, O>, Omittable<V, O>> {
  const zero = Object.fromEntries(Object.entries(fields).map(([name, member]) => [name, member.fallback]));
  return field({ kind: 'struct', fields }, zero, versions, options);
}

type ElementOut<E> =
  E extends Field<infer Out, unknown, boolean> ? Out : E extends Fields ? Decoded<E> : never;
type ElementIn<E> =
  E extends Field<unknown, infer In, boolean> ? In : E extends Fields ? Encodable<E> : never;

/** An array of a scalar (`array(int32())`) or of structures (`array({ name: string() })`). */
export function array<
  const E extends Field | Fields,
  const V extends string = '0+',
  const O extends FieldOptions<null> = NoOptions,
>(
  element: E,
  versions?: V,
  options?: O,
): Field<Nullable<ElementOut<E>[], O>, Nullable<readonly ElementIn<E>[], O>, Omittable<V, O>> {
  const type: FieldType = isField(element) ? element.type : { kind: 'struct', fields: element };
  return field({ kind: 'array', element: type }, [], versions, options);
}

/** A structure's field could itself be called `type`, but its value is a `Field` and has no `kind`. */
function isField(element: Field | Fields): element is Field {
  return typeof element.type === 'object' && 'kind' in element.type;
}
