import { assert } from '@robustmq/core';
import { compileDecoder, type DecodeFunction } from './compile-decoder.ts';
import { compileEncoder, type EncodeFunction } from './compile-encoder.ts';
import { codecError } from './errors.ts';
import type { Decoded, Encodable, Fields } from './schema.ts';
import { type VersionRange, versionRange } from './versions.ts';

/** One direction of an API: its fields, and the functions compiled from them so far. */
export class Message<F extends Fields = Fields> {
  readonly name: string;
  readonly fields: F;
  readonly versions: VersionRange;
  /** The first version with compact lengths and tagged fields; `Infinity` if there is none. */
  readonly flexible: number;
  /** Bytes that the last encoding took outside gathered records; sizes the next slab. */
  slabBytes = 256;
  readonly #decoders: DecodeFunction[] = [];
  readonly #encoders: EncodeFunction[] = [];

  constructor(name: string, fields: F, options: { versions: VersionRange; flexible: number }) {
    this.name = name;
    this.fields = fields;
    this.versions = options.versions;
    this.flexible = options.flexible;
  }

  /** The decoder of a version, compiled at its first use. */
  decoder(version: number): DecodeFunction {
    const known = this.#decoders[version];
    if (known !== undefined) return known;
    this.#check(version);
    const made = compileDecoder(this, version);
    this.#decoders[version] = made;
    return made;
  }

  /** The encoder of a version, compiled at its first use. */
  encoder(version: number): EncodeFunction {
    const known = this.#encoders[version];
    if (known !== undefined) return known;
    this.#check(version);
    const made = compileEncoder(this, version);
    this.#encoders[version] = made;
    return made;
  }

  #check(version: number): void {
    if (Number.isInteger(version) && version >= this.versions.min && version <= this.versions.max) return;
    throw codecError('KAFKA_CODEC_VERSION_UNSUPPORTED', `${this.name} has no such version`, { version });
  }
}

/** One Kafka API: its key, the versions this codec knows, and both directions. */
export interface Api<Req extends Fields = Fields, Res extends Fields = Fields> {
  readonly key: number;
  readonly name: string;
  readonly versions: VersionRange;
  /** The first flexible version; `Infinity` if there is none. */
  readonly flexible: number;
  readonly request: Message<Req>;
  readonly response: Message<Res>;
}

/** What decoding a request of `A` gives. */
export type RequestOf<A extends Api> = A extends Api<infer Req, Fields> ? Decoded<Req> : never;
/** What decoding a response of `A` gives. */
export type ResponseOf<A extends Api> = A extends Api<Fields, infer Res> ? Decoded<Res> : never;
/** What encoding a request of `A` takes. */
export type RequestInput<A extends Api> = A extends Api<infer Req, Fields> ? Encodable<Req> : never;
/** What encoding a response of `A` takes. */
export type ResponseInput<A extends Api> = A extends Api<Fields, infer Res> ? Encodable<Res> : never;

/** Marks the fields of the direction client to server. */
export function request<const F extends Fields>(fields: F): { readonly request: F } {
  return { request: fields };
}

/** Marks the fields of the direction server to client. */
export function response<const F extends Fields>(fields: F): { readonly response: F } {
  return { response: fields };
}

/** Defines an API. `versions` is a closed range such as `'4-17'`; `flexible` is omitted for one that never is. */
export function api<Req extends Fields, Res extends Fields>(
  options: {
    readonly key: number;
    readonly name: string;
    readonly versions: string;
    readonly flexible?: number;
  },
  req: { readonly request: Req },
  res: { readonly response: Res },
): Api<Req, Res> {
  const { key, name } = options;
  const versions = versionRange(options.versions);
  assert(versions.max !== Infinity, `${name} has an open version range`);
  const flexible = options.flexible ?? Infinity;
  const shared = { versions, flexible };
  return {
    key,
    name,
    versions,
    flexible,
    request: new Message(`${name}Request`, req.request, shared),
    response: new Message(`${name}Response`, res.response, shared),
  };
}
