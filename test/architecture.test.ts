import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const packages = join(import.meta.dirname, '..', 'packages');

/** What each package may import. A boundary that matters is a package; this table is the only place that grants. */
const arrows: Record<string, readonly string[]> = {
  core: [],
  record: ['core'],
  wal: ['core'],
  kernel: ['core', 'record'],
  journal: ['core', 'record', 'wal', 'kernel'],
  meta: ['core', 'wal', 'kernel'],
  'mqtt-codec': ['core'],
  'kafka-codec': ['core'],
  mqtt: ['core', 'record', 'kernel', 'mqtt-codec'],
  kafka: ['core', 'record', 'kernel', 'kafka-codec'],
  admin: ['core', 'kernel'],
  disk: ['core'],
  sim: ['core'],
  server: ['core', 'record', 'wal', 'kernel', 'journal', 'meta', 'mqtt', 'kafka', 'admin', 'disk'],
  testkit: [
    'core',
    'record',
    'wal',
    'kernel',
    'journal',
    'meta',
    'mqtt-codec',
    'kafka-codec',
    'mqtt',
    'kafka',
    'admin',
    'disk',
    'sim',
    'server',
  ],
  bench: ['core'],
};
/** Tests beside the code may use these as well. */
const testArrows = ['core', 'disk', 'sim'];
/** Packages that name no protocol: what they hold is the same for all of them. */
const protocolFree = ['core', 'wal', 'kernel', 'journal', 'meta', 'disk', 'sim'];

function sources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.includes('node_modules'))
    .map((name) => join(folder, name));
}

function json(path: string): { dependencies?: Record<string, string>; references?: { path: string }[] } {
  return JSON.parse(readFileSync(path, 'utf8')) as never;
}

describe('architecture', () => {
  it('lists every package', () => {
    expect(readdirSync(packages).sort()).toEqual(Object.keys(arrows).sort());
  });

  for (const [name, allowed] of Object.entries(arrows)) {
    const folder = join(packages, name);

    it(`${name} declares exactly its arrows`, () => {
      const manifest = json(join(folder, 'package.json'));
      const declared = Object.keys(manifest.dependencies ?? {})
        .filter((key) => key.startsWith('@robustmq/'))
        .map((key) => key.slice('@robustmq/'.length));
      expect(declared.filter((key) => !allowed.includes(key))).toEqual([]);
      const references = (json(join(folder, 'tsconfig.json')).references ?? []).map((entry) =>
        entry.path.slice(3),
      );
      expect(references.sort()).toEqual(declared.sort());
    });

    it(`${name} imports only along its arrows`, () => {
      const wrong: string[] = [];
      for (const file of sources(join(folder, 'src'))) {
        const granted = file.endsWith('.test.ts') ? [...allowed, ...testArrows] : allowed;
        const text = readFileSync(file, 'utf8');
        for (const match of text.matchAll(/(?:from |import\()'@robustmq\/([a-z-]+)/g)) {
          if (match[1] !== name && !granted.includes(match[1]!)) wrong.push(`${file}: ${match[1]}`);
        }
        // Other packages are imported by name, never by a path into their folders.
        for (const match of text.matchAll(/(?:from |import\()'(\.[^']*)'/g)) {
          if (!resolve(file, '..', match[1]!).startsWith(`${folder}/`)) wrong.push(`${file}: ${match[1]}`);
        }
      }
      expect(wrong).toEqual([]);
    });
  }

  for (const name of protocolFree) {
    it(`${name} names no protocol`, () => {
      const wrong = sources(join(packages, name, 'src')).filter(
        (file) => !file.endsWith('.test.ts') && /\b(mqtt|kafka|amqp|qos)\b/i.test(readFileSync(file, 'utf8')),
      );
      expect(wrong).toEqual([]);
    });
  }
});
