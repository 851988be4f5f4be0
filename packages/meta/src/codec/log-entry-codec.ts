import { ByteReader, RobustError } from '@robustmq/core';
import type { BytesErrorCode } from '@robustmq/core';
import type { KernelErrorCode, MetadataCommand } from '@robustmq/kernel';
import { CheckedWriter } from './checked-writer.ts';
import { decodeCommand, encodeCommand } from './command-codec.ts';

/** A command in its place in the log. */
export interface LogEntry {
  readonly index: number;
  /** 1 while there is one member. */
  readonly term: number;
  readonly command: MetadataCommand;
}

const version = 1;
const headBytes = 13;

/** An encoded command, one item of the log, is at most this long: a frame of the log must hold it. */
export const commandBytesMax = 1024 * 1024;

/** Bytes of a command; throws METADATA_CONFLICT or BATCH_TOO_LARGE when there are none. */
function commandBytes(command: MetadataCommand): Buffer {
  const writer = new CheckedWriter();
  encodeCommand(writer, command);
  if (writer.length <= commandBytesMax) return writer.view();
  throw new RobustError<KernelErrorCode>('BATCH_TOO_LARGE', 'the command is too large', {
    detail: { bytes: writer.length, limit: commandBytesMax },
  });
}

/** What precedes a command's bytes in the log: version, index, term. */
export function logEntryHead(index: number, term: number): Buffer {
  return new CheckedWriter(headBytes).u8(version).i64(index).u32(term).view();
}

export function decodeLogEntry(bytes: Uint8Array): LogEntry {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== version) {
    throw new RobustError<BytesErrorCode>('BYTES_MALFORMED', 'a log entry of another version');
  }
  const index = reader.i64();
  const term = reader.u32();
  return { index, term, command: decodeCommand(reader.raw(reader.remaining)) };
}

/**
 * The bytes of each command, or why it has none, in its place. What is applied are these bytes decoded again: the
 * state shares nothing with the caller, and a replay sees what the first application saw.
 */
export function encodeAll(commands: readonly MetadataCommand[]): (Buffer | RobustError<KernelErrorCode>)[] {
  return commands.map((command) => {
    try {
      return commandBytes(command);
    } catch (error) {
      if (error instanceof RobustError) return error as RobustError<KernelErrorCode>;
      throw error;
    }
  });
}
