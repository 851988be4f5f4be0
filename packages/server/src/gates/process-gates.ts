import type { ConnectionGate, Gates, Lifecycle, Logger } from '@robustmq/core';
import { systemClock } from '@robustmq/core';
import type { Config } from '../config-schema.ts';
import { AddressRates } from './address-rates.ts';
import { collectGarbage, MemoryWatch, processMemory } from './memory-watch.ts';

/** What is shown of the gates. */
export interface GateFigures {
  connectionsOverRate: number;
  connectionsOverMemory: number;
  memoryBytes: number;
  memoryBytesMax: number;
  publishersPaused: number;
  memoryPauses: number;
}

/** The bounds of the process that all listeners share: connections an address, and memory. */
export class ProcessGates implements Gates, Lifecycle {
  /** For the protocols. */
  readonly connections: ConnectionGate = { admit: (address) => this.#admit(address, true) };
  /** For the admin listener, which is needed most when memory is short. */
  readonly adminConnections: ConnectionGate = { admit: (address) => this.#admit(address, false) };
  readonly publishers: MemoryWatch;
  readonly #rates: AddressRates;
  #overRate = 0;
  #overMemory = 0;

  constructor(limits: Config['limits'], logger: Logger) {
    this.#rates = new AddressRates(systemClock, limits.connections);
    this.publishers = new MemoryWatch(limits.memory, {
      clock: systemClock,
      logger,
      usage: processMemory,
      collect: collectGarbage,
    });
  }

  get figures(): GateFigures {
    const { bytes, bytesMax, pauses } = this.publishers.figures;
    return {
      connectionsOverRate: this.#overRate,
      connectionsOverMemory: this.#overMemory,
      memoryBytes: bytes,
      memoryBytesMax: bytesMax,
      publishersPaused: this.publishers.closed ? 1 : 0,
      memoryPauses: pauses,
    };
  }

  start(): Promise<void> {
    return this.publishers.start();
  }

  stop(): Promise<void> {
    return this.publishers.stop();
  }

  #admit(address: string, needsMemory: boolean): boolean {
    if (!this.#rates.admit(address)) {
      this.#overRate++;
      return false;
    }
    if (!needsMemory || !this.publishers.refusing) return true;
    this.#overMemory++;
    return false;
  }
}
