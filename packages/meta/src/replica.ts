import type { Logger } from '@robustmq/core';
import type { MetadataCommand, MetadataImage, MetadataUpdate } from '@robustmq/kernel';
import type { MetadataState, Transition } from './state/metadata-state.ts';

type Listener = (update: MetadataUpdate) => void;

/** The applied state of one node and those who watch it. */
export class Replica {
  #state: MetadataState;
  readonly #logger: Logger;
  /** With the revision that each one began to watch at. */
  readonly #listeners = new Map<Listener, number>();

  constructor(state: MetadataState, logger: Logger) {
    this.#state = state;
    this.#logger = logger;
  }

  get state(): MetadataState {
    return this.#state;
  }

  get image(): MetadataImage {
    return this.#state.image;
  }

  /** Goes on from a recovered state; who watches already sees what changes from there. */
  recover(state: MetadataState): void {
    this.#state = state;
    for (const listener of this.#listeners.keys()) this.#listeners.set(listener, state.index);
  }

  /** Applies a committed command and tells the watchers, who see exactly this revision in the image. */
  apply(index: number, command: MetadataCommand): Transition {
    const transition = this.state.apply(index, command);
    if (transition.changes.length > 0) this.#tell({ revision: index, changes: transition.changes });
    return transition;
  }

  watch(listener: Listener): () => void {
    // A wrapper of its own, so that one function can watch twice and each watch ends alone.
    const watching: Listener = (update) => listener(update);
    this.#listeners.set(watching, this.state.index);
    return () => {
      this.#listeners.delete(watching);
    };
  }

  #tell(update: MetadataUpdate): void {
    for (const [listener, since] of this.#listeners) {
      if (since >= update.revision) continue;
      try {
        listener(update);
      } catch (error) {
        this.#logger.error({ error, revision: update.revision }, 'a metadata watcher failed');
      }
    }
  }
}
