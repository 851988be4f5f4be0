/** Writes a number in decimal, with leading zeros, as the `digits` bytes before `end`: topic names are patched so. */
export function writeDigits(
  bytes: Buffer,
  { end, digits }: { readonly end: number; readonly digits: number },
  value: number,
): void {
  let rest = value;
  for (let at = end - 1; at >= end - digits; at--) {
    bytes[at] = 0x30 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
}
