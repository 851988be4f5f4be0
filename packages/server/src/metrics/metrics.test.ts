import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { allMetricRows } from './index.ts';

describe('metrics', () => {
  it('have names of one form: package, noun, unit', () => {
    const names = allMetricRows.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const { name, type } of allMetricRows) {
      expect(name).toMatch(/^robustmq_(server|kernel|mqtt|kafka|journal|wal|disk)_[a-z0-9]+(_[a-z0-9]+)*$/);
      expect(name.endsWith('_total'), name).toBe(type === 'counter');
    }
  });

  it('are those of docs/metrics.md (`vitest run packages/server -u` writes it)', async () => {
    const text = [
      '# Metrics',
      '',
      "`GET /metrics` on the admin port answers in Prometheus' text format. Counters begin at 0 with each start. Beside these",
      'there are the usual `process_...` and `nodejs_...` metrics of Node. No label has values that clients choose.',
      '',
      '| metric | type | meaning |',
      '|---|---|---|',
      ...allMetricRows.map(({ name, type, help }) => `| \`${name}\` | ${type} | ${help} |`),
      '',
    ].join('\n');
    const path = join(import.meta.dirname, '..', '..', '..', '..', 'docs', 'metrics.md');
    await expect(text).toMatchFileSnapshot(path);
  });
});
