import { TimerItem } from './timers.ts';

/** The side of a connection that its deadlines call. */
export interface TimedConnection {
  /** Nothing came for too long. */
  idle(): void;
  /** A packet has not come to its end in time. */
  partial(): void;
  /** What a packet asks for was not stored in time. */
  overdue(): void;
  /** What it has to send was not taken for too long. */
  stalled(): void;
}

/** Keep alive; before, the time that a new connection has for CONNECT, and we have for CONNACK. */
export class IdleTimer extends TimerItem {
  readonly #connection: TimedConnection;

  constructor(connection: TimedConnection) {
    super();
    this.#connection = connection;
  }

  expire(): void {
    this.#connection.idle();
  }
}

/** A packet that has begun; it has to end before this is due. */
export class PartialTimer extends TimerItem {
  readonly #connection: TimedConnection;

  constructor(connection: TimedConnection) {
    super();
    this.#connection = connection;
  }

  expire(): void {
    this.#connection.partial();
  }
}

/** A packet behind which nothing is read before it is stored what it asks for. */
export class HoldTimer extends TimerItem {
  readonly #connection: TimedConnection;

  constructor(connection: TimedConnection) {
    super();
    this.#connection = connection;
  }

  expire(): void {
    this.#connection.overdue();
  }
}

/** A connection that holds all it may and sends nothing. */
export class StallTimer extends TimerItem {
  /** What its client had taken when it began. */
  readonly takenBytes: number;
  readonly #connection: TimedConnection;

  constructor(connection: TimedConnection, takenBytes: number) {
    super();
    this.#connection = connection;
    this.takenBytes = takenBytes;
  }

  expire(): void {
    this.#connection.stalled();
  }
}
