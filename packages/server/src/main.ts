#!/usr/bin/env node
import { RobustError } from '@robustmq/core';
import { cac } from 'cac';
import { acceptLoss, defaultAdminUrl } from './admin-client.ts';
import { loadConfig } from './config.ts';
import { exitCodes, usageError } from './errors.ts';

const cli = cac('robustmq');

cli
  .command('start', 'Run the standalone server: broker, metadata and journal in one process')
  .option('--config <file>', 'YAML file; every key has a default')
  .action(async (options: { config?: string }) => {
    const env = new Map(
      Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
    );
    const config = loadConfig(options.config ?? null, env);
    // Loaded here, so that the other commands, and refusals, do not wait for the whole server.
    const { runServer } = await import('./run-server.ts');
    await runServer(config);
  });

cli
  .command('shard <action> <id>', 'accept-loss: serve a shard although it has lost acknowledged records')
  .option('--admin <url>', 'Admin address of the running server', { default: defaultAdminUrl })
  .action(async (action: string, id: unknown, options: { admin: string }) => {
    if (action !== 'accept-loss') throw usageError(`there is no \`shard ${action}\``);
    process.stdout.write(`${await acceptLoss(options.admin, String(id))}\n`);
  });

cli.help();
cli.version('0.1.0');

try {
  cli.parse(process.argv, { run: false });
  if (cli.matchedCommand === undefined && cli.options['help'] !== true && cli.options['version'] !== true) {
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
