import type { Logger } from '@robustmq/core';
import { pino } from 'pino';

/** The process's logger: JSON lines on standard error, so that standard output stays for people. */
export function createLogger(level: string): Logger {
  const destination = pino.destination({ dest: 2, sync: true });
  // A log that can not be written (nobody reads it, its disk is full) ends no server.
  destination.on('error', () => undefined);
  const target = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: pino.stdSerializers.err },
    },
    destination,
  );
  return wrap(target);
}

function wrap(target: pino.Logger): Logger {
  return {
    debug: (fields, message) => target.debug(fields, message),
    info: (fields, message) => target.info(fields, message),
    warn: (fields, message) => target.warn(fields, message),
    error: (fields, message) => target.error(fields, message),
    child: (bindings) => wrap(target.child(bindings)),
  };
}
