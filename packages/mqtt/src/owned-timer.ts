import { TimerItem } from './timers.ts';

/** A deadline of something that has several: `due` says which, and is one function for all owners. */
export class OwnedTimer<Owner> extends TimerItem {
  readonly #owner: Owner;
  readonly #due: (owner: Owner) => void;

  constructor(owner: Owner, due: (owner: Owner) => void) {
    super();
    this.#owner = owner;
    this.#due = due;
  }

  expire(): void {
    this.#due(this.#owner);
  }
}
