import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { coverage, projectCoverage, rulesNamedIn, rulesOf, verdictOf } from '../scripts/rules.mjs';

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

function titles(...lines: string[]): string[] {
  return [...rulesNamedIn(lines.join('\n'))];
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
        `it('${word} 1.1: a', () => {`,
        `  test("${word} 1.2: b", f);`,
        `describe(\`${word} 1.3: \${x}\`, f);`,
        `it.each(table)('${word} 1.4: %s', f);`,
        `  ])('${word} 1.5: %s', f);`,
        `describe.skipIf(x)('${word} 1.6: c', f);`,
        `check(`,
        `  '${word} 1.7: d',`,
        `it.concurrent('${word} 1.8, 1.9: e', f);`,
      ),
    ).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9].map((rule) => `${word} 1.${rule}`));
    expect(titles(`it('${word} 1.1, 1.2, mqtt defect 3, 14: g', f);`)).toEqual([
      `${word} 1.1`,
      `${word} 1.2`,
      'mqtt defect 3',
      'mqtt defect 14',
    ]);
  });

  it('do not where they are no test that runs, or name no single rule', () => {
    expect(
      titles(
        `it('a test of ${word} 1.1: a', f);`,
        `it.skip('${word} 1.2: b', f);`,
        `it.todo('${word} 1.3: b');`,
        `it.fails('${word} 1.8: b', f);`,
        `describe.concurrent.fails('${word} 1.9: b', f);`,
        `// it('${word} 1.4: c', f);`,
        `throw new Error('${word} 1.5: d');`,
        `it('${word} 1: e', f);`,
        `it('${word} 1.6 without a colon', f);`,
        `const name = '${word} 1.7: f';`,
      ),
    ).toEqual([]);
  });
});

describe('coverage', () => {
  const rules = rulesOf(word, page);
  const file = (path: string, title: string) => ({ path, source: `it('${title}', f);` });

  it('is the test files, the reason, or nothing', () => {
    const { rows, unknown } = coverage(rules, [
      file('a.test.ts', `${word} 1.1: a`),
      file('b.test.ts', `${word} 1.1: b`),
    ]);
    expect(rows.map(verdictOf)).toEqual([
      'a.test.ts\nb.test.ts',
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
