/** A rule of a page; `later` is the reason why it has no test yet, null where it needs one. */
export interface Rule {
  readonly name: string;
  readonly later: string | null;
}

/** A rule with the tests that name it, `path: title`, and the conditions under which they are skipped. */
export interface RuleRow extends Rule {
  readonly tests: readonly string[];
}

/** A test that runs and has to pass, at least where its conditions let it. */
export interface NamedTest {
  readonly names: readonly string[];
  /** Without the names. */
  readonly title: string;
  readonly conditions: readonly string[];
}

export function rulesOf(page: string, text: string): Rule[];
export function testsIn(source: string): NamedTest[];
/** `unknown` are numbers in titles that no page has. */
export interface Coverage {
  readonly rows: RuleRow[];
  readonly unknown: string[];
}

export function coverage(
  rules: readonly Rule[],
  files: readonly { readonly path: string; readonly source: string }[],
): Coverage;
export function projectCoverage(): Coverage;
export function verdictOf(row: RuleRow): string;
