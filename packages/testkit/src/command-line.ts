/** Reads the options of a command with `read`; what is wrong with them is one line, and the process ends with code 2. */
export function optionsOrExit<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    console.error(`${(error as Error).message.replaceAll('\n', ' ')} (--help: what there is)`);
    process.exit(2);
  }
}

/** The number of an option's text; throws, with words for its user, unless it is finite and at least `least`. */
export function numberOf(name: string, text: string, least: number): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value >= least) return value;
  throw new Error(`--${name} is a number of at least ${least}, not '${text}'`);
}

/** The same for whole numbers. */
export function wholeNumberOf(name: string, text: string, least: number): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isSafeInteger(value) && value >= least) return value;
  throw new Error(`--${name} is a whole number of at least ${least}, not '${text}'`);
}
