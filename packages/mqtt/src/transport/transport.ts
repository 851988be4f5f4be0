/** What a connection hears from its transport. Nothing is called after `lost`. */
export interface TransportListener {
  /** Bytes as they came; packets need not align with chunks. */
  data(chunk: Buffer): void;
  /** Everything that was written has left this process. */
  drained(): void;
  /** The peer is gone, or the transport was closed. Called once. */
  lost(): void;
}

/** A byte stream to one client: TCP, or the binary messages of a WebSocket. */
export interface Transport {
  readonly remoteAddress: string;
  /** Whether it ended already: the peer, or the gate of the process, was faster. */
  readonly closed: boolean;
  /** Bytes written and not yet taken by the operating system. */
  readonly unsentBytes: number;
  listen(listener: TransportListener): void;
  /** Writes parts in order, as one system call where that is possible. The parts must stay as they are. */
  write(parts: readonly Buffer[]): void;
  /** The client is accepted: it may send as much at once as its packets allow. */
  trust(): void;
  pause(): void;
  resume(): void;
  /** Closes after what was written has been sent, at the latest after a few seconds. */
  end(): void;
  destroy(): void;
}

/** How long a peer may take to accept the last bytes of a connection that we end. */
export const lingerMs = 2000;
