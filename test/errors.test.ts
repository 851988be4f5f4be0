import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');

/** Package -> codes of its catalogues: every exported union type whose name ends in `ErrorCode`. */
function catalogues(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const name of readdirSync(join(root, 'packages'))) {
    const source = join(root, 'packages', name, 'src');
    for (const file of readdirSync(source, { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts') || file.endsWith('.test.ts')) continue;
      const text = readFileSync(join(source, file), 'utf8').replaceAll(/\/\*[\s\S]*?\*\//g, '');
      for (const [, union] of text.matchAll(/^export type \w+ErrorCode =([^;]+);/gm)) {
        const codes = [...union!.matchAll(/'([A-Z][A-Z0-9_]+)'/g)].map((match) => match[1]!);
        found.set(name, [...(found.get(name) ?? []), ...codes]);
      }
    }
  }
  return found;
}

/** Section -> codes of the first column of its tables. */
function documented(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const section of readFileSync(join(root, 'docs', 'errors.md'), 'utf8')
    .split(/^## /m)
    .slice(1)) {
    const codes = [...section.matchAll(/^\| `([A-Z][A-Z0-9_]+)` \|/gm)].map((match) => match[1]!);
    found.set(section.slice(0, section.indexOf('\n')).trim(), codes);
  }
  return found;
}

describe('docs/errors.md', () => {
  const code = catalogues();
  const docs = documented();

  it('has a section for every package with a catalogue', () => {
    expect(code.size).toBeGreaterThan(5);
    expect([...docs.keys()].sort()).toEqual([...code.keys()].sort());
  });

  for (const [name, codes] of code) {
    it(`lists the codes of ${name}`, () => {
      expect([...(docs.get(name) ?? [])].sort()).toEqual([...codes].sort());
    });
  }

  it('lists no code twice, and explains each', () => {
    const all = [...docs.values()].flat();
    expect(new Set(all).size).toBe(all.length);
    for (const row of readFileSync(join(root, 'docs', 'errors.md'), 'utf8').matchAll(
      /^\| `[A-Z_0-9]+` .*$/gm,
    )) {
      expect(row[0].split('|').at(-2)!.trim().length, row[0]).toBeGreaterThan(10);
    }
  });
});
