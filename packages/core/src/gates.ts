/** Decides whether a new connection is served; asked once for each, before a byte of it is read. */
export interface ConnectionGate {
  /** `address` is the peer's, as the system says it; empty where it is gone already. */
  admit(address: string): boolean;
  /** Called once for each connection that was admitted, when it has ended. */
  left(): void;
}

/** Tells whether connections that bring records should be read at all. */
export interface PublishGate {
  readonly closed: boolean;
  /** Calls `task` once when it opens; the same task is remembered once. */
  whenOpen(task: () => void): void;
  /** Takes a task back, if it still waits. */
  forget(task: () => void): void;
}

/** What a process lets in, for all its listeners together. */
export interface Gates {
  readonly connections: ConnectionGate;
  readonly publishers: PublishGate;
}

/** Lets everything in; for listeners that stand alone. */
export const openGates: Gates = {
  connections: { admit: () => true, left: () => undefined },
  publishers: { closed: false, whenOpen: () => undefined, forget: () => undefined },
};
