/** The code that `level` itself gave, which it wraps in an error of its own when opening fails. */
export function levelCode(error: unknown): string {
  for (let at = error; at instanceof Error; at = at.cause) {
    const code = (at as NodeJS.ErrnoException).code ?? '';
    if (code === 'LEVEL_LOCKED' || code === 'LEVEL_CORRUPTION' || code === 'LEVEL_IO_ERROR') return code;
  }
  return '';
}

/** Whether the system had no space for what `level` wrote; LevelDB passes the reason on as text only. */
export function isLevelFull(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (/no space left|quota exceeded/i.test(at.message)) return true;
  }
  return false;
}
