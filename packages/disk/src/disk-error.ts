import type { DiskErrorCode } from '@robustmq/core';
import { RobustError } from '@robustmq/core';

const codes = new Map<string, DiskErrorCode>([
  ['ENOSPC', 'DISK_FULL'],
  ['EDQUOT', 'DISK_FULL'],
  ['ENOENT', 'DISK_NOT_FOUND'],
  ['EACCES', 'DISK_ACCESS'],
  ['EPERM', 'DISK_ACCESS'],
  ['EROFS', 'DISK_ACCESS'],
]);

/** What was being done when the system refused, for the message a person reads. */
export interface DiskAction {
  action: string;
  path: string;
}

/** Translates a system error to the port's closed set of codes; the original stays as the cause. */
export function toDiskError(cause: unknown, { action, path }: DiskAction): RobustError<DiskErrorCode> {
  if (cause instanceof RobustError) return cause as RobustError<DiskErrorCode>;
  const errno = (cause as NodeJS.ErrnoException).code ?? 'unknown error';
  const code = codes.get(errno) ?? 'DISK_IO';
  return new RobustError(code, `cannot ${action} ${path}: ${errno}`, {
    retriable: code === 'DISK_FULL',
    detail: { action, path, errno },
    cause,
  });
}
