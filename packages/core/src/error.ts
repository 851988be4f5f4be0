/**
 * The one error class. `code` is a member of the closed union that the throwing package documents in its
 * catalogue; `retriable` says whether the same request may succeed later; `detail` is for people and logs.
 */
export class RobustError<Code extends string = string> extends Error {
  readonly code: Code;
  readonly retriable: boolean;
  readonly detail: Readonly<Record<string, unknown>>;

  constructor(
    code: Code,
    message: string,
    options: { retriable?: boolean; detail?: Record<string, unknown>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'RobustError';
    this.code = code;
    this.retriable = options.retriable ?? false;
    this.detail = options.detail ?? {};
  }
}

/** Raised by `assert`: an invariant of ours is broken, and the process must not go on. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** Ends the process (through the uncaught path) when an invariant of ours is broken. Never for peer input. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}
