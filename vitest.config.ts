import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { conditions: ['robustmq-source', 'node'] },
  ssr: { resolve: { conditions: ['robustmq-source', 'node'] } },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 20_000,
  },
});
