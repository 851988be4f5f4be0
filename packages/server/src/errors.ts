import { RobustError } from '@robustmq/core';
import { hostAndPort } from './listen-hosts.ts';

/** Codes that the process itself raises at its start. */
export type ServerErrorCode =
  /** A key or a value of the configuration is wrong; the message names it. */
  | 'CONFIG_INVALID'
  /** The configuration file can not be read, or is no YAML. */
  | 'CONFIG_UNREADABLE'
  /** The data folder can not be made, read or written. */
  | 'DATA_FOLDER_UNUSABLE'
  /** Metadata and journal in the data folder do not belong together: one is another, gone, or an older copy. */
  | 'DATA_FOLDER_MIXED'
  /** A listener's address can not be bound. */
  | 'LISTEN_FAILED'
  /** What the command asked of a running server failed. */
  | 'ADMIN_REQUEST_FAILED'
  /** The command line is wrong. */
  | 'USAGE';

/** Exit codes of the process. */
export const exitCodes = {
  /** Stopped as asked. */
  ok: 0,
  /** Did not start, or did not stop in time. */
  failed: 1,
  /** The command line or the configuration is wrong. */
  usage: 2,
  /** What is on the disk, or in memory, is no longer certain. */
  fatal: 70,
} as const;

export function usageError(problem: string): RobustError<ServerErrorCode> {
  return new RobustError('USAGE', `${problem}; see \`robustmq --help\``);
}

/** Puts what a person can do in place of the system's error of a listener that could not be opened. */
export function listenFailed(listener: string, cause: unknown): Error {
  const { code, port, address } = cause as { code?: string; port?: number; address?: string };
  if (address === undefined || port === undefined || code === undefined) return cause as Error;
  const where = hostAndPort(address, port);
  return new RobustError<ServerErrorCode>('LISTEN_FAILED', listenProblem(listener, { code, where }), {
    cause,
  });
}

function listenProblem(listener: string, { code, where }: { code: string; where: string }): string {
  if (code === 'EADDRINUSE') {
    const key = listener === 'admin' ? 'admin.port' : `listeners.${listener}.port`;
    return `${where} of listener ${listener} is in use. Stop what uses it, or set ${key} to another port.`;
  }
  if (code === 'EACCES')
    return `listener ${listener} may not bind ${where}: ports below 1024 need privileges.`;
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
    return `listener ${listener} can not bind ${where}: this machine has no such address.`;
  }
  return `listener ${listener} can not bind ${where}: ${code}.`;
}

/** The same for the data folder. */
export function dataFolderUnusable(path: string, cause: unknown): RobustError<ServerErrorCode> {
  const { code } = cause as NodeJS.ErrnoException;
  const reason =
    code === 'EACCES' || code === 'EPERM'
      ? 'this user may not read and write it'
      : code === 'EEXIST' || code === 'ENOTDIR'
        ? 'it, or what it lies in, is a file'
        : code === 'EROFS' || code === 'ENOENT'
          ? 'it is on a file system that takes no new folders'
          : (cause as Error).message;
  return new RobustError(
    'DATA_FOLDER_UNUSABLE',
    `the data folder ${path} can not be used: ${reason}. Change it, or set dataDir to another folder.`,
    { cause },
  );
}

/** Going on would take one's records for rubbish, or the other's for its own. */
export function dataFolderMixed(path: string): RobustError<ServerErrorCode> {
  return new RobustError(
    'DATA_FOLDER_MIXED',
    `meta and journal in ${path} do not belong together, or one of them is gone, or the journal is an older ` +
      'copy. Put back what was there, or set dataDir to an empty folder and begin without any records.',
  );
}
