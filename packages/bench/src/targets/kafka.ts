import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, spawnTarget } from './spawned.ts';
import type { TargetSpec } from './target.ts';

const version = '4.3.0';
const log4jVersion = '2.25.1';
const javaMajorMin = 17;
const heap = '1g';
/** Until the JVM has compiled the produce path, its CPU a megabyte is several times what it becomes. */
const jitWarmupMs = 15_000;

/**
 * Apache Kafka, one node, from its published jars; `flush` makes it fsync every append, as RobustMQ
 * does. Fetches the jars into `cache` on first use. Throws, with the reason, where that cannot be done.
 */
export function kafkaSpec(cache: string, flush: boolean): TargetSpec {
  const name = flush ? 'kafka-fsync' : 'kafka';
  const libs = installJars(cache);
  return {
    name,
    protocols: ['kafka'],
    startRuns: 1,
    warmupMs: jitWarmupMs,
    open: async (folder) => {
      mkdirSync(folder, { recursive: true });
      const kafkaPort = await freePort();
      const configPath = join(folder, 'server.properties');
      writeFileSync(configPath, properties(folder, kafkaPort, await freePort(), flush));
      const java = [`-Xms${heap}`, `-Xmx${heap}`, '-cp', join(libs, '*')];
      const tool = 'kafka.tools.StorageTool';
      const id = execFileSync('java', [...java, tool, 'random-uuid'], { encoding: 'utf8', stdio: 'pipe' });
      const format = ['format', '--standalone', '-t', id.trim().split('\n').at(-1) ?? '', '-c', configPath];
      execFileSync('java', [...java, tool, ...format], { stdio: 'pipe' });
      const args = [...java, 'kafka.Kafka', configPath];
      return spawnTarget({ name, folder, command: 'java', args, kafkaPort, startDeadlineMs: 60_000 });
    },
  };
}

function properties(folder: string, port: number, controllerPort: number, flush: boolean): string {
  const both = `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`;
  return [
    'process.roles=broker,controller',
    'node.id=1',
    `controller.quorum.bootstrap.servers=127.0.0.1:${controllerPort}`,
    `listeners=${both}`,
    `advertised.listeners=${both}`,
    'inter.broker.listener.name=PLAINTEXT',
    'controller.listener.names=CONTROLLER',
    'listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    `log.dirs=${join(folder, 'data')}`,
    'offsets.topic.replication.factor=1',
    'transaction.state.log.replication.factor=1',
    'transaction.state.log.min.isr=1',
    ...(flush ? ['log.flush.interval.messages=1'] : []),
    '',
  ].join('\n');
}

/** Folder of the jars, brought with Maven unless it is there. */
function installJars(cache: string): string {
  const java = run('java', ['-version']);
  const major = Number(/version "(\d+)/.exec(java)?.[1] ?? 0);
  if (major < javaMajorMin) throw new Error(`needs Java ${javaMajorMin}, found ${major}`);
  const folder = join(cache, `kafka-${version}`);
  const libs = join(folder, 'libs');
  if (existsSync(join(libs, `kafka_2.13-${version}.jar`))) return libs;
  mkdirSync(folder, { recursive: true });
  const dependency = (group: string, artifact: string, of: string) =>
    `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${of}</version></dependency>`;
  writeFileSync(
    join(folder, 'pom.xml'),
    '<project><modelVersion>4.0.0</modelVersion><groupId>bench</groupId><artifactId>kafka</artifactId>' +
      `<version>1</version><dependencies>${dependency('org.apache.kafka', 'kafka_2.13', version)}` +
      dependency('org.apache.logging.log4j', 'log4j-slf4j2-impl', log4jVersion) +
      `${dependency('org.apache.logging.log4j', 'log4j-core', log4jVersion)}</dependencies></project>\n`,
  );
  run('mvn', [
    '-q',
    '-B',
    '-f',
    join(folder, 'pom.xml'),
    'dependency:copy-dependencies',
    `-DoutputDirectory=${libs}`,
  ]);
  return libs;
}

/** Output of both streams: `java -version` writes to stderr. */
function run(command: string, args: readonly string[]): string {
  try {
    return execFileSync('sh', ['-c', 'exec "$0" "$@" 2>&1', command, ...args], { encoding: 'utf8' });
  } catch (error) {
    const output = (error as { stdout?: string }).stdout ?? '';
    throw new Error(`${command} is missing or failed: ${output.trim().split('\n').at(-1)}`, { cause: error });
  }
}
