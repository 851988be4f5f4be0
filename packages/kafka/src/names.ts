/** What stands for bytes that are no UTF-8 in the text that the codec makes of them. */
const replacement = 0xfffd;

/**
 * Whether a name that a client gives itself, its group or its instance can be kept, shown and compared: no control
 * characters, which deceive whoever reads a log or a list, no non-characters, which no MQTT client may be sent, and nothing
 * that was no UTF-8, since two such names may look the same. `max` is in UTF-16 units.
 */
export function isPlainName(name: string, max: number): boolean {
  if (name.length > max) return false;
  for (let at = 0; at < name.length; at++) {
    const point = name.codePointAt(at)!;
    if (point < 0x20 || (point >= 0x7f && point <= 0x9f) || point === replacement) return false;
    if (isNonCharacter(point)) return false;
    if (point > 0xffff) at++;
  }
  return true;
}

/** The 32 of the Arabic block, and the last two of each plane. */
function isNonCharacter(point: number): boolean {
  return (point >= 0xfdd0 && point <= 0xfdef) || (point & 0xfffe) === 0xfffe;
}
