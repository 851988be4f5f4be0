import type { ConnectionGate, Gates, Lifecycle, Logger } from '@robustmq/core';
import { systemClock } from '@robustmq/core';
import type { Config } from '../config-schema.ts';
import { AddressRates } from './address-rates.ts';
import { DescriptorBound } from './descriptor-bound.ts';
import { collectGarbage, MemoryWatch, processMemory } from './memory-watch.ts';

/** Descriptors for all but segments and connections of clients: logs, state, the admin listener and its 256 connections. */
const otherDescriptors = 512;

/** What is shown of the gates. */
export interface GateFigures {
  connectionsOverRate: number;
  connectionsOverMemory: number;
  connectionsOverDescriptors: number;
  memoryBytes: number;
  memoryBytesMax: number;
  publishersPaused: number;
  memoryPauses: number;
}

/** The bounds of the process that all listeners share: connections an address, and memory. */
export class ProcessGates implements Gates, Lifecycle {
  /** For the protocols. */
  readonly connections: ConnectionGate = {
    admit: (address) => this.#admit(address),
    left: () => this.#descriptors.give(),
  };
  /** For the admin listener, which is needed most when something is short. */
  readonly adminConnections: ConnectionGate = {
    admit: (address) => this.#keepsRate(address),
    left: () => undefined,
  };
  readonly publishers: MemoryWatch;
  readonly #rates: AddressRates;
  readonly #descriptors: DescriptorBound;
  #overRate = 0;
  #overMemory = 0;
  #overDescriptors = 0;

  constructor({ limits, storage }: Pick<Config, 'limits' | 'storage'>, logger: Logger) {
    this.#descriptors = new DescriptorBound(systemClock, storage.openFiles + otherDescriptors);
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
      connectionsOverDescriptors: this.#overDescriptors,
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

  #admit(address: string): boolean {
    if (!this.#keepsRate(address)) return false;
    if (this.publishers.refusing) {
      this.#overMemory++;
      return false;
    }
    if (this.#descriptors.take()) return true;
    this.#overDescriptors++;
    return false;
  }

  #keepsRate(address: string): boolean {
    const keeps = this.#rates.admit(address);
    if (!keeps) this.#overRate++;
    return keeps;
  }
}
