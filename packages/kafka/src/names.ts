/** What stands for bytes that are no UTF-8 in the text that the codec makes of them. */
const replacement = 0xfffd;

/**
 * Whether a name that a client gives itself, its group or its instance can be kept, shown and compared: no control
 * characters, which deceive whoever reads a log or a list, and nothing that was no UTF-8, since two such names may look
 * the same. `max` is in UTF-16 units.
 */
export function isPlainName(name: string, max: number): boolean {
  if (name.length > max) return false;
  for (let at = 0; at < name.length; at++) {
    const unit = name.charCodeAt(at);
    if (unit < 0x20 || (unit >= 0x7f && unit <= 0x9f) || unit === replacement) return false;
  }
  return true;
}
