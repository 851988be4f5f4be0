import { ProcessProbe } from '../process-probe.ts';

const source = `
  const report = () => {
    collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };`;

/**
 * Memory of another Node process that is in use: what is left of its heap, and of the buffers beside it, after a full
 * collection. Its resident memory says little, since a process may gather garbage for long.
 */
export class LiveMemory extends ProcessProbe<number> {
  constructor() {
    super({ signal: 'SIGUSR2', source, what: 'how much memory it has in use' });
  }

  /** Bytes in use by the process, which runs with `nodeOption`. */
  of(pid: number): Promise<number> {
    return this.ask(pid);
  }
}
