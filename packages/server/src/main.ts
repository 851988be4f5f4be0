#!/usr/bin/env node
import { RobustError } from '@robustmq/core';
import { cac } from 'cac';
import { acceptLoss, defaultAdminUrl } from './admin-client.ts';
import { loadConfig } from './config.ts';
import { exitCodes, usageError } from './errors.ts';
import { paceHeap } from './heap-pacing.ts';

const cli = cac('robustmq');

cli
  .command('start', 'Run the standalone server: broker, metadata and journal in one process')
  .option('--config <file>', 'YAML file; docs/configuration.md has its keys, each with a default')
  .action(async (options: { config?: string }) => {
    const config = loadConfig(options.config ?? null, environment());
    // Loaded here, so that the other commands, and refusals, do not wait for the whole server.
    const { runServer } = await import('./run-server.ts');
    paceHeap();
    await runServer(config);
  });

cli
  .command('shard <action> <id>', 'accept-loss: serve a shard although it has lost acknowledged records')
  .option('--admin <url>', 'Admin address of the running server', { default: defaultAdminUrl })
  .action(async (action: string, id: unknown, options: { admin: string }) => {
    if (action !== 'accept-loss') throw usageError(`there is no \`shard ${action}\``);
    process.stdout.write(`${await acceptLoss(options.admin, String(id))}\n`);
  });

cli
  .command('meta <action>', 'accept-loss: go on without metadata that is lost; the server must not run')
  .option('--config <file>', 'The configuration file of the server')
  .action(async (action: string, options: { config?: string }) => {
    if (action !== 'accept-loss') throw usageError(`there is no \`meta ${action}\``);
    const config = loadConfig(options.config ?? null, environment());
    const { acceptMetadataLoss } = await import('./accept-metadata-loss.ts');
    process.stdout.write(`${await acceptMetadataLoss(config)}\n`);
  });

cli.help();
cli.version('0.1.0');

try {
  cli.parse(process.argv, { run: false });
  if (cli.matchedCommand === undefined && cli.options['help'] !== true && cli.options['version'] !== true) {
    const [command] = cli.args;
    if (command !== undefined) console.error(`robustmq: there is no command \`${command}\``);
    cli.outputHelp();
    process.exitCode = exitCodes.usage;
  } else await cli.runMatchedCommand();
} catch (error) {
  // A message a person can act on; the stack only where we do not know the error.
  const usage = error instanceof Error && error.name === 'CACError';
  const known = error instanceof RobustError || usage;
  console.error(known ? `robustmq: ${(error as Error).message}` : error);
  const wrongInput =
    usage || (error instanceof RobustError && (error.code === 'USAGE' || error.code.startsWith('CONFIG_')));
  process.exit(wrongInput ? exitCodes.usage : exitCodes.failed);
}

function environment(): Map<string, string> {
  const entries = Object.entries(process.env);
  return new Map(entries.filter((entry): entry is [string, string] => entry[1] !== undefined));
}
