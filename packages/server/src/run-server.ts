import type { Logger } from '@robustmq/core';
import { RobustError } from '@robustmq/core';
import { announcement } from './announcement.ts';
import type { Config } from './config-schema.ts';
import { exitCodes, listenFailed } from './errors.ts';
import { ProcessGates } from './gates/process-gates.ts';
import type { Listener } from './listeners.ts';
import { advertisedAddresses, createListeners } from './listeners.ts';
import { createLogger } from './logger.ts';
import { startStandalone } from './standalone.ts';

const sameWishMs = 1000;

/**
 * Starts the standalone server and serves until SIGINT or SIGTERM; the process ends with one of `exitCodes`. Throws what
 * kept it from starting, with nothing left open.
 */
export async function runServer(config: Config): Promise<void> {
  const logger = createLogger(config.log.level);
  const onFatal = endOnFatal(logger);
  let ready = false;
  const started: Listener[] = [];
  const base = await startStandalone(config, { logger, addresses: advertisedAddresses(config), onFatal });
  const gates = new ProcessGates(config, logger.child({ package: 'server' }));
  const stop = async (): Promise<void> => {
    ready = false;
    for (const listener of started.splice(0).reverse()) await listener.part.stop();
    await gates.stop();
    await base.stop();
  };
  const problems: string[] = [];
  try {
    await gates.start();
    for (const listener of createListeners(config, { base, gates, logger, ready: () => ready })) {
      const problem = await startListener(listener, { logger, mayStayClosed: config.admin.enabled });
      if (problem === null) started.push(listener);
      else problems.push(`${listener.name}: ${problem}`);
    }
  } catch (error) {
    await stop();
    throw error;
  }
  ready = problems.length === 0;
  stopOnSignal(stop, { logger, timeoutMs: config.stopTimeoutMs });
  const endpoints = started.flatMap((listener) => listener.endpoints());
  const text = announcement(endpoints, { folder: base.folder, startMs: performance.now(), problems });
  // As for the log: nobody has to read it.
  process.stdout.on('error', () => undefined);
  process.stdout.write(text);
}

/**
 * Opens a listener; null when it is open. One whose state is damaged may stay closed: the answer says why, and the way out
 * of it leads through the admin listener.
 */
async function startListener(
  { name, part }: Listener,
  { logger, mayStayClosed }: { readonly logger: Logger; readonly mayStayClosed: boolean },
): Promise<string | null> {
  try {
    await part.start();
    return null;
  } catch (error) {
    await part.stop();
    if (!isDamagedState(error) || !mayStayClosed) throw listenFailed(name, error);
    logger.error({ listener: name, error }, 'a listener stays closed: its state is damaged');
    return error.message;
  }
}

/** A part's state lost acknowledged records, and nobody has said yet that it may go on without them. */
function isDamagedState(error: unknown): error is RobustError {
  if (!(error instanceof RobustError)) return false;
  return error.code === 'SHARD_UNAVAILABLE' && 'shard' in error.detail;
}

/** After an error that nobody expects the process ends at once: acknowledged data is on the disk, memory is not trusted. */
function endOnFatal(logger: Logger): (error: unknown) => void {
  const onFatal = (error: unknown): void => {
    logger.error({ error }, 'the process ends: what is on the disk, or in memory, is no longer certain');
    process.exit(exitCodes.fatal);
  };
  process.on('uncaughtException', onFatal);
  process.on('unhandledRejection', onFatal);
  return onFatal;
}

/**
 * The first signal stops in order, until the deadline; a later one ends the process at once. One that comes right behind
 * the first is the same wish: a terminal and the process that started us both pass it on.
 */
function stopOnSignal(
  stop: () => Promise<void>,
  { logger, timeoutMs }: { readonly logger: Logger; readonly timeoutMs: number },
): void {
  let since: number | null = null;
  const end = (signal: string): void => {
    if (since !== null) {
      if (performance.now() - since > sameWishMs) process.exit(exitCodes.failed);
      return;
    }
    since = performance.now();
    logger.info({ signal }, 'stopping');
    // Not unref'd: it also keeps the process alive until the stop has an outcome.
    setTimeout(() => {
      logger.error({ timeoutMs }, 'the server did not stop in time');
      process.exit(exitCodes.failed);
    }, timeoutMs);
    stop().then(
      () => process.exit(exitCodes.ok),
      (error: unknown) => {
        logger.error({ error }, 'the server did not stop cleanly');
        process.exit(exitCodes.failed);
      },
    );
  };
  process.on('SIGINT', () => end('SIGINT'));
  process.on('SIGTERM', () => end('SIGTERM'));
}
