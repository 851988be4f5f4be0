import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { coverage, projectCoverage, rulesOf, testsIn, verdictOf } from '../scripts/rules.mjs';

const page = `# A page

## 1. One

**1.1** First rule,
on two lines.

**1.2** (later: there is no cluster
yet) Second rule.

Text that mentions **1.9** is no rule, nor is 1.8.

**1.10** Tenth.
`;

/** Test files in parts, so that a reading of this file does not take them for its own titles. */
const word = 'semantics';

/** The rules that titles name, the title behind them, and the conditions of the test, of each that counts. */
function titles(...lines: string[]): string[] {
  return testsIn(lines.join('\n')).map(({ names, title, conditions }) =>
    [names.join(', '), title, ...conditions].join(' | '),
  );
}

describe('the rules of a page', () => {
  it('are its numbered paragraphs, with the reason of those that wait', () => {
    expect(rulesOf('storage', page)).toEqual([
      { name: 'storage 1.1', later: null },
      { name: 'storage 1.2', later: 'there is no cluster yet' },
      { name: 'storage 1.10', later: null },
    ]);
    expect(rulesOf('defects', '**mqtt 3** A.\n\n**kafka 12** (later: why) B.\n')).toEqual([
      { name: 'mqtt defect 3', later: null },
      { name: 'kafka defect 12', later: 'why' },
    ]);
  });

  it('of docs/defects.md are numbered without a gap, for each protocol', () => {
    const text = readFileSync(join(import.meta.dirname, '..', 'docs', 'defects.md'), 'utf8');
    const numbered = (protocol: string, count: number): string[] =>
      Array.from({ length: count }, (_, at) => `${protocol} defect ${at + 1}`);
    expect(rulesOf('defects', text).map(({ name }) => name)).toEqual([
      ...numbered('mqtt', 62),
      ...numbered('kafka', 27),
    ]);
  });

  for (const [name, sections] of [
    ['semantics', 9],
    ['storage', 4],
  ] as const) {
    it(`of docs/${name}.md are numbered without a gap`, () => {
      const text = readFileSync(join(import.meta.dirname, '..', 'docs', `${name}.md`), 'utf8');
      const numbers = rulesOf(name, text).map((rule) => rule.name.split(' ')[1]!.split('.').map(Number));
      const heads = [...text.matchAll(/^## (\d+)\. /gm)].map((match) => Number(match[1]));
      expect(heads).toEqual(Array.from({ length: sections }, (_, at) => at + 1));
      let [section, rule] = [0, 0];
      for (const [first, second] of numbers) {
        rule = first === section ? rule + 1 : 1;
        if (first !== section) section++;
        expect([first, second]).toEqual([section, rule]);
      }
      expect(section).toBe(sections);
    });
  }
});

describe('references in the code', () => {
  it('are to rules and sections that there are', () => {
    const known = new Set<string>();
    for (const name of ['semantics', 'storage']) {
      const text = readFileSync(join(import.meta.dirname, '..', 'docs', `${name}.md`), 'utf8');
      for (const rule of rulesOf(name, text)) known.add(rule.name).add(rule.name.split('.')[0]!);
    }
    const packages = join(import.meta.dirname, '..', 'packages');
    const reference = /docs\/(semantics|storage)\.md ((?:\d+(?:\.\d+)?(?:, |-)?)+)/g;
    const wrong: string[] = [];
    let found = 0;
    for (const path of readdirSync(packages, { recursive: true, encoding: 'utf8' })) {
      if (!/^[^/\\]+[/\\]src[/\\].*\.ts$/.test(path)) continue;
      for (const [, name, numbers] of readFileSync(join(packages, path), 'utf8').matchAll(reference)) {
        for (const number of numbers!.split(/, |-/)) {
          found++;
          if (number !== '' && !known.has(`${name} ${number}`)) wrong.push(`${name} ${number} in ${path}`);
        }
      }
    }
    expect(wrong).toEqual([]);
    expect(found).toBeGreaterThan(20);
  });
});

describe('the titles of tests', () => {
  it('name a rule at their beginning, in every form of a test', () => {
    expect(
      titles(
        `it('${word} 1.1: a', () => {});`,
        `  test("${word} 1.2: b", f);`,
        `describe(\`${word} 1.3: \${x}\`, () => it('c', f));`,
        `it.each(table)('${word} 1.4: %s', f);`,
        `it.each<[string]>([`,
        `  ['it.skip('],`,
        `])('${word} 1.5: %s', f);`,
        `test.for(table)(`,
        `  '${word} 1.6: d',`,
        `  async (): Promise<void> => f(),`,
        `);`,
        `it.each\`a | b\`('${word} 1.7: e', f);`,
        `it.concurrent('${word} 1.8, 1.9: it\\'s f', f);`,
        `it('${word} 1.10: g', { timeout: 5, skip: false }, f);`,
        `api.describe(name, () => api.it('${word} 1.11: h', f));`,
      ),
    ).toEqual([
      `${word} 1.1 | a`,
      `${word} 1.2 | b`,
      `${word} 1.3 | \${x}`,
      `${word} 1.4 | %s`,
      `${word} 1.5 | %s`,
      `${word} 1.6 | d`,
      `${word} 1.7 | e`,
      `${word} 1.8, ${word} 1.9 | it's f`,
      `${word} 1.10 | g`,
      `${word} 1.11 |  > h`,
    ]);
    expect(titles(`it('${word} 1.1, 1.2, mqtt defect 3, 14: g', f);`)).toEqual([
      `${word} 1.1, ${word} 1.2, mqtt defect 3, mqtt defect 14 | g`,
    ]);
  });

  it('stand behind those of the groups around them', () => {
    expect(
      titles(`describe('a', () => { describe('${word} 1.1: b', () => { it('${word} 1.2: c', f) }) })`),
    ).toEqual([`${word} 1.1 | a > b`, `${word} 1.2 | a > b > c`]);
  });

  it('do not where they name no single rule, or are commented', () => {
    expect(
      titles(
        `it('a test of ${word} 1.1: a', f);`,
        `// it('${word} 1.2: b', f);`,
        `/*`,
        `it('${word} 1.3: b', f);`,
        `*/`,
        `const text = \`it('${word} 1.4: b', f);\`;`,
        `it('${word} 1: c', f);`,
        `it('${word} 1.5 without a colon', f);`,
      ),
    ).toEqual([]);
  });

  it('do not where nothing but a test is called', () => {
    expect(
      titles(
        `throw new Error('${word} 1.1: a');`,
        `const name = '${word} 1.2: b';`,
        `log(x)('${word} 1.3: c', f);`,
        `log.each(x)('${word} 1.4: d', f);`,
        `it(x)('${word} 1.5: e', f);`,
        `it.each(['${word} 1.6: f'])(x, f);`,
        `check('${word} 1.7: g', f);`,
        `it.extend({})('${word} 1.8: h', f);`,
      ),
    ).toEqual([]);
  });

  it('do where a function of the file makes a test of them', () => {
    const check = `const check = (title: string, body: () => void): void => { api.it(title, async () => body()); };`;
    expect(titles(check, `check('${word} 1.1: a', f);`)).toEqual([`${word} 1.1 | a`]);
    expect(
      titles(
        check.replace('const check =', 'function check').replace(': void =>', ''),
        `check('${word} 1.1: a', f);`,
      ),
    ).toEqual([`${word} 1.1 | a`]);
    expect(titles(check.replace('api.it', 'api.it.skip'), `check('${word} 1.1: a', f);`)).toEqual([]);
    expect(titles(check.replace('api.it(title', "api.it('b'"), `check('${word} 1.1: a', f);`)).toEqual([]);
  });

  it.each(['skip', 'todo', 'fails'])('do not of a test with .%s, wherever that stands', (off) => {
    expect(
      titles(
        `it.${off}('${word} 1.1: a', f);`,
        `describe.concurrent.${off}('${word} 1.2: b', () => it('b', f));`,
        `it.${off}.each(t)('${word} 1.3: c', f);`,
        `it.${off}.for(t)('${word} 1.4: d', f);`,
        `it.${off}.each\`a | b\`('${word} 1.5: e', f);`,
        `it.skipIf(x).${off}('${word} 1.6: f', f);`,
        `it.${off}.skipIf(x)('${word} 1.7: g', f);`,
        `it('${word} 1.8: h', { ${off}: true }, f);`,
      ),
    ).toEqual([]);
  });

  it('do not of a test that never runs', () => {
    expect(
      titles(
        `describe.skipIf(true)('${word} 1.1: a', () => it('a', f));`,
        `it.skipIf(true).each(t)('${word} 1.2: b', f);`,
        `it.runIf(false)('${word} 1.3: c', f);`,
        `it('${word} 1.4: d');`,
        `describe('${word} 1.5: e', () => {});`,
        `describe('${word} 1.6: f', () => { it.skip('f', f); log('f', f); });`,
      ),
    ).toEqual([]);
  });

  it('do not in a group that never runs, however deep', () => {
    for (const group of ['skip', 'todo', 'skip.each(t)', 'skipIf(true)', 'runIf(0)']) {
      expect(
        titles(
          `describe.${group}('a', () => {`,
          `  describe('${word} 1.1: b', () => {`,
          `    for (const x of y) it.each(t)('${word} 1.2: c', f);`,
          `  });`,
          `});`,
          `it('${word} 1.3: d', f);`,
        ),
        group,
      ).toEqual([`${word} 1.3 | d`]);
    }
  });

  it('do where a condition holds, which is told, also that of a group', () => {
    expect(
      titles(
        `describe.skipIf(!root)('${word} 1.1: a', () => {`,
        `  it.runIf(x ===`,
        `    2).each(t)('${word} 1.2: b', f);`,
        `});`,
        `it.skipIf(false)('${word} 1.3: c', f);`,
      ),
    ).toEqual([
      `${word} 1.1 | a | skipIf !root`,
      `${word} 1.2 | a > b | skipIf !root | runIf x === 2`,
      `${word} 1.3 | c`,
    ]);
  });
});

describe('coverage', () => {
  const rules = rulesOf(word, page);
  const file = (path: string, title: string) => ({ path, source: `it('${title}', f);` });

  it('is the titles in each file, the reason, or nothing', () => {
    const { rows, unknown } = coverage(rules, [
      file('a.test.ts', `${word} 1.1: a`),
      file('b.test.ts', `${word} 1.1: b`),
      { path: 'c.test.ts', source: `it.skipIf(x)('${word} 1.1: c', f); it.skip('${word} 1.10: d', f);` },
    ]);
    expect(rows.map(verdictOf)).toEqual([
      'a.test.ts: a\nb.test.ts: b\nc.test.ts: c (skipIf x)',
      'later: there is no cluster yet',
      'MISSING',
    ]);
    expect(unknown).toEqual([]);
  });

  it('knows a number that no page has', () => {
    expect(coverage(rules, [file('a.test.ts', `${word} 4.1: a`)]).unknown).toEqual([
      `${word} 4.1 in a.test.ts`,
    ]);
  });
});

describe('every rule of the project', () => {
  const { rows, unknown } = projectCoverage();

  it('has a test whose title names it, or the reason why it waits', () => {
    expect(rows.filter((row) => verdictOf(row) === 'MISSING').map(({ name }) => name)).toEqual([]);
    expect(rows.length).toBeGreaterThan(150);
  });

  it('that a title names is on a page', () => {
    expect(unknown).toEqual([]);
  });

  it('that waits has no test yet: a rule that is tested waits no more', () => {
    expect(rows.filter(({ later, tests }) => later !== null && tests.length > 0)).toEqual([]);
  });
});
