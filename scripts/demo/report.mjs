// What the demo prints: what went in, what came out, and whether that is what had to come out.

/** Writes the report as it grows and counts what was not as expected. */
export class Report {
  #started = performance.now();
  #passed = 0;
  #failed = 0;

  say(text) {
    console.log(text);
  }

  scene(title) {
    console.log(`\n== ${title}`);
  }

  /** Something a client sent and had acknowledged. */
  in(protocol, text) {
    console.log(`   in   ${protocol.padEnd(5)}  ${text.trimEnd()}`);
  }

  /** Something a client was given. */
  out(protocol, text) {
    console.log(`   out  ${protocol.padEnd(5)}  ${text.trimEnd()}`);
  }

  /** One expectation; both sides are compared as JSON. */
  expect(what, actual, expected) {
    const [have, want] = [JSON.stringify(actual), JSON.stringify(expected)];
    const ok = have === want;
    if (ok) this.#passed++;
    else this.#failed++;
    console.log(`   ${ok ? 'ok  ' : 'FAIL'} ${what}`);
    if (!ok) console.log(`        expected ${want}\n        got      ${have}`);
  }

  failure(error) {
    this.#failed++;
    console.log(`   FAIL ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }

  /** Prints the last line; returns whether all is well. */
  verdict() {
    const seconds = ((performance.now() - this.#started) / 1000).toFixed(1);
    const all = this.#failed === 0;
    const counts = `${this.#passed} as expected, ${this.#failed} not`;
    console.log(`\n${all ? 'It works' : 'It does NOT work'}: ${counts}, ${seconds} s.`);
    return all;
  }
}
