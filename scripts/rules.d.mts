/** A rule of a page; `later` is the reason why it has no test yet, null where it needs one. */
export interface Rule {
  readonly name: string;
  readonly later: string | null;
}

/** A rule with the paths of the files that test it. */
export interface RuleRow extends Rule {
  readonly tests: readonly string[];
}

export function rulesOf(page: string, text: string): Rule[];
export function rulesNamedIn(source: string): Set<string>;
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
