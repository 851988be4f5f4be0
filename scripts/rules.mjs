// `npm run rules`: which test checks which rule of docs/semantics.md, docs/storage.md and docs/defects.md; fails for a
// rule without a test.
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { parseArgs } from 'node:util';

const help = `npm run rules

Prints every rule of docs/semantics.md, docs/storage.md and docs/defects.md with the test files that check it, found by
the titles of their tests, and counts them. Exit code 1 if a rule has no test, or a test names a rule that is not there.
`;

const root = join(import.meta.dirname, '..');
const pages = ['semantics', 'storage', 'defects'];
/** Conformance suites are run by the tests of each implementation, so their titles are titles of tests. */
const testFile = /(\.test|[\\/]conformance|[\\/]conformance[\\/][^\\/]+)\.ts$/;

/**
 * The rules of a page: paragraphs that begin with a number in bold, `**3.4** text`, or, for a rule that waits for a part
 * that does not exist, `**3.4** (later: reason) text`. Those of docs/defects.md have the protocol before the number.
 */
export function rulesOf(page, text) {
  const rules = [];
  for (const [, number, protocol, defect, rest] of text.matchAll(
    /^\*\*(?:(\d+\.\d+)|(\w+) (\d+))\*\* ((?:.+\n?)+)/gm,
  )) {
    const later = /^\(later: ([^)]+)\)/.exec(rest.replaceAll('\n', ' '))?.[1] ?? null;
    rules.push({ name: number === undefined ? `${protocol} defect ${defect}` : `${page} ${number}`, later });
  }
  return rules;
}

const reference = '(?:(?:semantics|storage) \\d+\\.\\d+|(?:mqtt|kafka) defect \\d+)';
const title = new RegExp(`^(.*)\\(\\s*['"\`](${reference}(?:, (?:${reference}|[\\d.]+))*): `, 'gm');

/**
 * The rules that titles in a test file name: a title begins with `semantics 3.4: `, or with several numbers, `semantics
 * 3.4, 3.5, mqtt defect 7: `. Titles are read from the source: the literal first argument of `it`, `test`, `describe` or
 * `check`, also behind `.each(...)`; skipped tests, those that are to fail, and commented lines do not count.
 */
export function rulesNamedIn(source) {
  const named = new Set();
  for (const [, before, names] of source.matchAll(title)) {
    if (/^\s*(\/\/|\*|\/\*)/.test(before) || !isTest(before)) continue;
    let page = '';
    for (const name of names.split(', ')) {
      const numberAt = name.lastIndexOf(' ') + 1;
      if (numberAt > 0) page = name.slice(0, numberAt);
      named.add(page + name.slice(numberAt));
    }
  }
  return named;
}

/** Whether a line up to the parenthesis of a call ends in what makes a test that runs and has to pass. */
function isTest(before) {
  if (before.endsWith(')')) return true;
  const callee = /\b(?:it|test|describe|check)((?:\.\w+)*)$/.exec(before);
  return callee !== null && !/\.(skip|todo|fails)\b/.test(callee[1]);
}

/** Rule -> what the tests say of it, in the order of the pages; `unknown` are numbers that no page has. */
export function coverage(rules, files) {
  const tests = new Map(rules.map(({ name }) => [name, []]));
  const unknown = [];
  for (const { path, source } of files) {
    for (const name of rulesNamedIn(source)) {
      const found = tests.get(name);
      if (found === undefined) unknown.push(`${name} in ${path}`);
      else found.push(path);
    }
  }
  const rows = rules.map(({ name, later }) => ({ name, later, tests: tests.get(name) }));
  return { rows, unknown };
}

/** What is printed behind a rule's number. */
export function verdictOf({ later, tests }) {
  if (tests.length > 0) return tests.join('\n');
  return later === null ? 'MISSING' : `later: ${later}`;
}

function testFiles() {
  const files = [];
  for (const folder of ['packages', 'test']) {
    for (const name of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })) {
      const path = join(root, folder, name);
      if (!testFile.test(path) || /[\\/](node_modules|dist)[\\/]/.test(path)) continue;
      files.push({ path: relative(root, path).split(sep).join('/'), source: readFileSync(path, 'utf8') });
    }
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** The coverage of the project's pages by its tests. */
export function projectCoverage() {
  const rules = pages.flatMap((page) =>
    rulesOf(page, readFileSync(join(root, 'docs', `${page}.md`), 'utf8')),
  );
  return coverage(rules, testFiles());
}

function main() {
  try {
    const { values } = parseArgs({ options: { help: { type: 'boolean', default: false } } });
    if (values.help) {
      console.log(help);
      return 0;
    }
  } catch (error) {
    console.error(`${error.message.replaceAll('\n', ' ')} (--help: what this is)`);
    return 2;
  }
  const { rows, unknown } = projectCoverage();
  const width = 17;
  for (const row of rows) {
    console.log(`${row.name.padEnd(width)}${verdictOf(row).replaceAll('\n', `\n${' '.repeat(width)}`)}`);
  }
  const missing = rows.filter((row) => verdictOf(row) === 'MISSING');
  const tested = rows.filter(({ tests }) => tests.length > 0);
  for (const name of unknown) console.log(`no such rule: ${name}`);
  const later = rows.length - tested.length - missing.length;
  console.log(`${rows.length} rules: ${tested.length} tested, ${later} later, ${missing.length} missing`);
  return missing.length === 0 && unknown.length === 0 && rows.length > 0 ? 0 : 1;
}

if (process.argv[1]?.endsWith('rules.mjs')) process.exit(main());
