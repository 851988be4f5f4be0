import { ByteWriter, RobustError } from '@robustmq/core';
import type { KernelErrorCode } from '@robustmq/kernel';

/**
 * A byte writer for values that a peer may have made up: a number that its field cannot hold is refused, where a
 * plain write would store another number.
 */
export class CheckedWriter extends ByteWriter {
  override u8(value: number): this {
    return super.u8(checked(value, 0, 0xff));
  }

  override u32(value: number): this {
    return super.u32(checked(value, 0, 0xffffffff));
  }

  override i64(value: number): this {
    return super.i64(checked(value, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER));
  }

  /** Pairs sorted by key, so that equal maps have equal bytes. */
  stringMap(values: ReadonlyMap<string, string>): this {
    this.u32(values.size);
    const keys = [...values.keys()].sort();
    for (const key of keys) this.string(key).string(values.get(key)!);
    return this;
  }
}

function checked(value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new RobustError<KernelErrorCode>('METADATA_CONFLICT', 'a number does not fit its field', {
    detail: { value, min, max },
  });
}
