import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { hasCommand, runCommand } from './command.ts';

const version = '4.3.0';

/** Why the Java client can not be run here; null: it can. Its jars are brought in by the way. */
export async function javaClientMissing(): Promise<string | null> {
  const missing = ['mvn', 'javac', 'java'].filter((command) => !hasCommand(command, ['-version']));
  if (missing.length > 0) return `${missing.join(', ')} not installed`;
  try {
    await javaClientJars();
    return null;
  } catch {
    return 'Maven could not bring kafka-clients';
  }
}

/** The jars of Apache Kafka's own client, brought by Maven into the user's cache folder on first use. */
async function javaClientJars(): Promise<string> {
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'robustmq-test');
  const jars = join(cache, `kafka-clients-${version}`);
  if (hasJars(jars)) return jars;
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, 'fetch-'));
  writeFileSync(join(folder, 'pom.xml'), pom());
  const args = ['-q', '-B', 'dependency:copy-dependencies', '-DoutputDirectory=libs'];
  const result = await runCommand('mvn', args, { cwd: folder, timeoutMs: 120_000 });
  if (result.code !== 0) throw new Error(`Maven could not bring kafka-clients:\n${result.stdout}`);
  // Another process may have been faster.
  if (!hasJars(jars)) renameSync(join(folder, 'libs'), jars);
  rmSync(folder, { recursive: true, force: true });
  return jars;
}

/** Compiles one Java file with the client and runs its `main`; returns what it printed. */
export async function runJavaClient(
  source: string,
  main: string,
  { args, timeoutMs }: { args: readonly string[]; timeoutMs: number },
): Promise<string> {
  const classPath = join(await javaClientJars(), '*');
  const classes = mkdtempSync(join(tmpdir(), 'robustmq-java-'));
  try {
    const compiled = await runCommand('javac', ['-d', classes, '-cp', classPath, source]);
    if (compiled.code !== 0) throw new Error(`javac failed:\n${compiled.stderr}`);
    const command = ['-Xmx256m', '-cp', `${classes}:${classPath}`, main, ...args];
    const result = await runCommand('java', command, { timeoutMs });
    if (result.code !== 0)
      throw new Error(`java ended with ${result.code}:\n${result.stdout}${result.stderr}`);
    return result.stdout;
  } finally {
    rmSync(classes, { recursive: true, force: true });
  }
}

function hasJars(folder: string): boolean {
  try {
    return readdirSync(folder).includes(`kafka-clients-${version}.jar`);
  } catch {
    return false;
  }
}

function pom(): string {
  const dependency = (group: string, artifact: string, of: string): string =>
    `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${of}</version></dependency>`;
  return (
    '<project><modelVersion>4.0.0</modelVersion><groupId>test</groupId><artifactId>client</artifactId>' +
    `<version>1</version><dependencies>${dependency('org.apache.kafka', 'kafka-clients', version)}` +
    `${dependency('org.slf4j', 'slf4j-nop', '1.7.36')}</dependencies></project>`
  );
}
