import { isSubjectSafe } from './subject-safe.ts';

/**
 * Names of record headers with a meaning of their own; `docs/` has the table of what each becomes per protocol.
 * `mq` has a decoder, `mq-header.ts`; `expires-at` is ms since 1970 in ASCII decimal.
 */
export const headerNames = {
  contentType: 'content-type',
  contentEncoding: 'content-encoding',
  replyTo: 'reply-to',
  correlationId: 'correlation-id',
  messageId: 'message-id',
  type: 'type',
  appId: 'app-id',
  userId: 'user-id',
  priority: 'priority',
  expiresAt: 'expires-at',
  mq: 'mq',
} as const;

/** The property that shows a record's key where its subject can't (`Subject.keyHidden`). */
export const hiddenKeyProperty = 'mq-key;base64';

const known = new Set<string>(Object.values(headerNames));
const ownPrefix = 'mq';
const escapePrefix = 'mq-up:';
const unsafeNamePrefix = 'mq-name:';
const base64Suffix = ';base64';
const nullSuffix = ';null';

/** A header as text with a name, in the form that any subscriber can be shown. */
export interface Property {
  readonly name: string;
  readonly value: string;
}

/** A header as it is stored. */
export interface Header {
  readonly name: Uint8Array;
  readonly value: Uint8Array | null;
}

/** Whether a name given by a user would be taken for one of ours and is stored as `mq-up:` + name. */
export function isReservedName(name: string): boolean {
  return known.has(name) || name.startsWith(ownPrefix);
}

/** The header name that a user's name is stored under. */
export function escapeUserName(name: string): string {
  return isReservedName(name) ? escapePrefix + name : name;
}

/** The user's name that a header name stands for. */
export function unescapeUserName(name: string): string {
  return name.startsWith(escapePrefix) ? name.slice(escapePrefix.length) : name;
}

/**
 * Whether a property with this name is stored as it is, name and value byte for byte: neither reserved nor with a
 * suffix. Nearly all are; the others go through `propertyToHeader`.
 */
export function isPlainName(name: string): boolean {
  return !isReservedName(name) && !hasSuffix(name);
}

/**
 * The header that a user's property is stored as. Undoes what `headerToProperty` does to headers that are no text, and
 * escapes whatever would not come out again as the same property: every safe property comes out as it went in.
 * Source: docs/semantics.md 2.2.
 */
export function propertyToHeader(name: string, value: string): Header {
  if (isPlainName(name)) return { name: Buffer.from(name), value: Buffer.from(value) };
  const decoded = decode(name, value);
  if (decoded !== null) {
    const again = headerToProperty(decoded.name, decoded.value);
    if (again?.name === name && again.value === value) return decoded;
  }
  return { name: Buffer.from(escapePrefix + name), value: Buffer.from(value) };
}

/**
 * The property that shows a header: text as it is, bytes as base64 under a name with `;base64`, null as an empty
 * value under a name with `;null`, a name that is no text as `mq-name:` + base64. Null for `mq`, which is not shown, and
 * for names that no property can hold. Source: docs/semantics.md 1.5, 2.2.
 */
export function headerToProperty(name: Uint8Array, value: Uint8Array | null): Property | null {
  const valueSafe = value !== null && isSubjectSafe(value);
  if (valueSafe && isEscaped(name)) {
    // Judged without the prefix, which must not push a long name over the limit.
    const user = name.subarray(escapePrefix.length);
    if (isSubjectSafe(user)) return { name: textOf(user), value: textOf(value) };
  }
  const text = shownName(name);
  if (text === null) return null;
  const shown =
    value === null
      ? { name: text + nullSuffix, value: '' }
      : valueSafe && !hasSuffix(text)
        ? { name: text, value: textOf(value) }
        : { name: text + base64Suffix, value: bufferOf(value).toString('base64') };
  return isSubjectSafe(shown.name) && isSubjectSafe(shown.value) ? shown : null;
}

function shownName(name: Uint8Array): string | null {
  if (!isSubjectSafe(name)) return unsafeNamePrefix + bufferOf(name).toString('base64');
  const text = textOf(name);
  return text === headerNames.mq ? null : text;
}

function isEscaped(name: Uint8Array): boolean {
  if (name.length < escapePrefix.length) return false;
  for (let i = 0; i < escapePrefix.length; i++) {
    if (name[i] !== escapePrefix.charCodeAt(i)) return false;
  }
  return true;
}

/** The header that could be shown as this property; whether it is decides `propertyToHeader`. */
function decode(name: string, value: string): Header | null {
  let bare = name;
  let bytes: Uint8Array | null = Buffer.from(value);
  if (name.endsWith(base64Suffix)) {
    bare = name.slice(0, -base64Suffix.length);
    bytes = Buffer.from(value, 'base64');
  } else if (name.endsWith(nullSuffix)) {
    bare = name.slice(0, -nullSuffix.length);
    bytes = null;
  }
  if (bare.startsWith(unsafeNamePrefix)) {
    return { name: Buffer.from(bare.slice(unsafeNamePrefix.length), 'base64'), value: bytes };
  }
  return isReservedName(bare) ? null : { name: Buffer.from(bare), value: bytes };
}

function hasSuffix(name: string): boolean {
  return name.endsWith(base64Suffix) || name.endsWith(nullSuffix);
}

function textOf(bytes: Uint8Array): string {
  return bufferOf(bytes).toString();
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
