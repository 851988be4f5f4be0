import { TimerItem } from '../timers.ts';

/** The next deadline of a session without a connection: its will, or its end. */
export class OfflineTimer extends TimerItem {
  readonly clientId: string;
  readonly #due: (clientId: string) => void;

  constructor(clientId: string, due: (clientId: string) => void) {
    super();
    this.clientId = clientId;
    this.#due = due;
  }

  expire(): void {
    this.#due(this.clientId);
  }
}
