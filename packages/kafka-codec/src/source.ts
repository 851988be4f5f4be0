/** Collects the lines of a generated function, indented, so that its dump can be read and compared. */
export class Source {
  readonly #lines: string[] = [];
  #depth = 0;
  #names = 0;

  line(text: string): void {
    this.#lines.push('  '.repeat(this.#depth) + text);
  }

  /** A block `head { ... }`. */
  block(head: string, body: () => void): void {
    this.line(`${head} {`);
    this.#depth++;
    body();
    this.#depth--;
    this.line('}');
  }

  /** A local name that no other part of the function uses. */
  local(name: string): string {
    return `${name}$${this.#names++}`;
  }

  toString(): string {
    return `${this.#lines.join('\n')}\n`;
  }
}
