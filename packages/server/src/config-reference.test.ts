import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { configReference } from './config-reference.ts';

describe('docs/configuration.md', () => {
  it('says what the schema says (`vitest run packages/server -u` writes it)', async () => {
    const path = join(import.meta.dirname, '..', '..', '..', 'docs', 'configuration.md');
    await expect(configReference()).toMatchFileSnapshot(path);
  });

  it('describes every key', () => {
    const rows = configReference()
      .split('\n')
      .filter((line) => /^\| `[a-zA-Z.]+` \|.*\|.*\|.*\|$/.test(line) && line.split('|').length === 6);
    expect(rows.length).toBeGreaterThan(25);
    for (const row of rows) expect(row.split('|').at(-2)!.trim(), row).not.toBe('');
  });
});
