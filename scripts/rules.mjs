// `npm run rules`: which tests check which rule of docs/semantics.md, docs/storage.md and docs/defects.md; fails for a
// rule without a test.
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { parseArgs } from 'node:util';
import { install } from './install.mjs';

const help = `npm run rules

Prints every rule of docs/semantics.md, docs/storage.md and docs/defects.md with the tests that check it, file: title,
found by their titles, and counts the rules. Tests that are skipped, to do or to fail do not count; where one is skipped
only under a condition, the condition stands behind it. Exit code 1 if a rule has no test, or a test names a rule that is
not there.
`;

const asCommand = process.argv[1]?.endsWith('rules.mjs') === true;
if (asCommand) install();
const { parseAst } = await import('vitest/node');

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
const naming = new RegExp(`^(${reference}(?:, (?:${reference}|[\\d.]+))*): `);
/** What keeps a test from running, or from having to pass. */
const notRun = new Set(['skip', 'todo', 'fails']);

/**
 * The tests in a source whose titles name rules: `semantics 3.4: what it says`, or with several numbers, `semantics 3.4,
 * 3.5, mqtt defect 7: ...`. A title is the literal first argument of `it`, `test` or `describe`, in any of their forms,
 * or of a function of the same file that hands it on to one of them. What is skipped, to do or to fail does not count,
 * nor what is in such a `describe`, nor a `describe` in which no test runs. What is skipped where a condition holds
 * counts, with the condition.
 */
export function testsIn(source) {
  const { body } = parseAst(source, { lang: 'ts' });
  const makers = makersIn(body);
  const tests = [];
  const visit = (node, around) => {
    const call = testCall(node, source, makers);
    if (call === null) {
      for (const child of childrenOf(node)) visit(child, around);
      return;
    }
    const inner = {
      runs: around.runs && call.runs,
      conditions: [...around.conditions, ...call.conditions],
      groups: around.groups,
    };
    const { names, title } = namedBy(call.title);
    const { conditions } = inner;
    const titles = [...around.groups.map((group) => group.ownTitle), title];
    const runs = inner.runs && !call.group;
    const test = { names, title: titles.join(' > '), ownTitle: title, conditions, runs };
    tests.push(test);
    if (call.group) inner.groups = [...around.groups, test];
    else if (inner.runs) for (const group of around.groups) group.runs = true;
    for (const child of childrenOf(node)) visit(child, inner);
  };
  for (const node of body) visit(node, { runs: true, conditions: [], groups: [] });
  return tests
    .filter(({ runs, names }) => runs && names.length > 0)
    .map(({ names, title, conditions }) => ({ names, title, conditions }));
}

/** The rules that a title names at its beginning, and what follows. */
function namedBy(whole) {
  const found = naming.exec(whole);
  if (found === null) return { names: [], title: whole };
  let page = '';
  const names = found[1].split(', ').map((name) => {
    const numberAt = name.lastIndexOf(' ') + 1;
    if (numberAt > 0) page = name.slice(0, numberAt);
    return page + name.slice(numberAt);
  });
  return { names, title: whole.slice(found[0].length) };
}

/** What a node says of a test when it is the call that makes one: `it.each(table)('title', ...)`; else null. */
function testCall(node, source, makers) {
  if (node.type !== 'CallExpression') return null;
  const [first, ...rest] = node.arguments;
  const called = calleeOf(node.callee, source);
  const maker = makers.has(called.name);
  if (!maker && !['it', 'test', 'describe'].includes(called.name)) return null;
  // `it.each(table)` alone makes nothing yet.
  if (!maker && titleOf(first, source) === null && first?.type !== 'Identifier' && rest.length === 0)
    return null;
  const options = rest.flatMap((each) => (each.type === 'ObjectExpression' ? each.properties : []));
  const off = options.some(({ key, value }) => notRun.has(key?.name) && value.value !== false);
  // Without a function it is a note of a test to write.
  const runs = called.runs && !off && (maker || rest.length > 0);
  const title = titleOf(first, source) ?? '';
  return { title, group: called.name === 'describe', runs, conditions: called.conditions };
}

/** What a call calls: `describe` of `api.describe.skipIf(x)`; whether it runs, and what it depends on. */
function calleeOf(callee, source) {
  const found = { name: '', runs: true, conditions: [] };
  for (let node = callee; ; ) {
    if (node.type === 'Identifier') return { ...found, name: node.name };
    if (node.type === 'TaggedTemplateExpression') node = node.tag;
    else if (node.type === 'CallExpression') {
      const name = node.callee.property?.name;
      const [given] = node.arguments;
      if (name === 'skipIf' || name === 'runIf') {
        if (given?.type !== 'Literal') found.conditions.unshift(`${name} ${textOf(given, source)}`);
        else if (Boolean(given.value) === (name === 'skipIf')) found.runs = false;
      } else if (name !== 'each' && name !== 'for') return found;
      node = node.callee;
    } else if (node.type === 'MemberExpression') {
      const { name } = node.property;
      if (['it', 'test', 'describe'].includes(name)) return { ...found, name };
      if (notRun.has(name)) found.runs = false;
      node = node.object;
    } else return found;
  }
}

/** Functions of a file that make a test of what they are called with: their first parameter is its title. */
function makersIn(body) {
  const makers = new Set();
  const visit = (node) => {
    const named = node.type === 'VariableDeclarator' || node.type === 'FunctionDeclaration';
    const made = node.type === 'VariableDeclarator' ? node.init : node;
    const title = made?.params?.[0]?.name;
    if (named && title !== undefined && handsOn(made.body, title)) makers.add(node.id.name);
    for (const child of childrenOf(node)) visit(child);
  };
  for (const node of body) visit(node);
  return makers;
}

function handsOn(node, title) {
  const call = testCall(node, '', new Set());
  if (call !== null && call.runs && !call.group && node.arguments[0].name === title) return true;
  return childrenOf(node).some((child) => handsOn(child, title));
}

function childrenOf(node) {
  return Object.values(node)
    .flat()
    .filter((child) => typeof child?.type === 'string');
}

/** The text of a literal as it is in the source; null when it is none. */
function titleOf(node, source) {
  const literal =
    node?.type === 'TemplateLiteral' || (node?.type === 'Literal' && typeof node.value === 'string');
  return literal ? source.slice(node.start + 1, node.end - 1).replaceAll(/\\(.)/g, '$1') : null;
}

function textOf(node, source) {
  return source.slice(node.start, node.end).replaceAll(/\s+/g, ' ');
}

/** Rule -> what the tests say of it, in the order of the pages; `unknown` are numbers that no page has. */
export function coverage(rules, files) {
  const tests = new Map(rules.map(({ name }) => [name, new Set()]));
  const unknown = [];
  for (const { path, source } of files) {
    for (const { names, title, conditions } of testsIn(source)) {
      const where = conditions.length === 0 ? '' : ` (${conditions.join(', ')})`;
      for (const name of names) {
        const found = tests.get(name);
        if (found === undefined) unknown.push(`${name} in ${path}`);
        else found.add(`${path}: ${title}${where}`);
      }
    }
  }
  const rows = rules.map(({ name, later }) => ({ name, later, tests: [...tests.get(name)] }));
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

if (asCommand) process.exit(main());
