import type { HeaderEncoder } from './header-encoder.ts';

const nothing = new Uint8Array(0);

/**
 * One record as byte ranges of buffers that the caller holds, for `BatchEncoder.append`. A mutable object that
 * is filled anew for each record: this is what keeps appending free of allocation. It holds on to the
 * buffers until it is filled again or cleared.
 */
export class RecordInput {
  /** Milliseconds since 1970, a safe integer. */
  timestamp = 0;
  /** `keyStart` -1 is the null key, as in a `RecordTable`. */
  key: Uint8Array = nothing;
  keyStart = -1;
  keyEnd = -1;
  /** `valueStart` -1 is the null value. */
  value: Uint8Array = nothing;
  valueStart = -1;
  valueEnd = -1;
  /** Encoded headers, as a `HeaderEncoder` builds them or another record carried them. */
  headers: Uint8Array = nothing;
  headersStart = 0;
  headersEnd = 0;
  headerCount = 0;

  /** A null key, a null value, no headers, and no hold on any buffer. */
  clear(): this {
    this.setKey(null).setValue(null);
    this.headers = nothing;
    this.headersStart = 0;
    this.headersEnd = 0;
    this.headerCount = 0;
    return this;
  }

  setKey(key: Uint8Array | null): this {
    this.key = key ?? nothing;
    this.keyStart = key === null ? -1 : 0;
    this.keyEnd = key === null ? -1 : key.length;
    return this;
  }

  setValue(value: Uint8Array | null): this {
    this.value = value ?? nothing;
    this.valueStart = value === null ? -1 : 0;
    this.valueEnd = value === null ? -1 : value.length;
    return this;
  }

  /** Takes the block that `encoder` holds now; it must stay as it is until the record is appended. */
  setHeaders(encoder: HeaderEncoder): this {
    this.headers = encoder.buffer;
    this.headersStart = 0;
    this.headersEnd = encoder.length;
    this.headerCount = encoder.count;
    return this;
  }
}
