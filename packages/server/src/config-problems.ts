import type { z } from 'zod';

/** Where values came from: the file, and environment variables by the key that each sets. */
export interface ConfigSources {
  readonly file: string | null;
  /** `listeners.kafka.port` -> `ROBUSTMQ_LISTENERS__KAFKA__PORT`. */
  readonly variables: ReadonlyMap<string, string>;
}

/** One line per problem: the key, what is wrong, and who set it. */
export function describeProblems(error: z.ZodError, sources: ConfigSources): string {
  const lines = error.issues.flatMap((issue) => {
    const path = issue.path.join('.');
    if (issue.code !== 'unrecognized_keys') return [line(path, issue.message, sources)];
    return issue.keys.map((key) =>
      line(path === '' ? key : `${path}.${key}`, 'there is no such key', sources),
    );
  });
  return `the configuration is wrong\n${lines.join('\n')}`;
}

function line(key: string, problem: string, { file, variables }: ConfigSources): string {
  const setBy = [...variables].find(([path]) => path === key || path.startsWith(`${key}.`));
  const origin = setBy?.[1] ?? file;
  return `  ${key === '' ? 'the file' : key}: ${problem}${origin === null ? '' : ` (from ${origin})`}`;
}
