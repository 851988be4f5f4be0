import { ProcessProbe } from './process-probe.ts';

/** Between two looks of the process at itself. */
const lookMs = 2;

const source = `
  const external = () => v8.getHeapStatistics().external_memory;
  let peak = 0;
  const look = () => { peak = Math.max(peak, external()); };
  setInterval(look, ${lookMs}).unref();
  const report = () => {
    look();
    collect();
    const answer = { peakBytes: peak, nowBytes: external() };
    peak = answer.nowBytes;
    return answer;
  };`;

/** Bytes of buffers beside the heap. */
export interface ExternalBytes {
  /** The most since the last question. */
  readonly peakBytes: number;
  /** What is left after a collection, from which the next peak begins. */
  readonly nowBytes: number;
}

/**
 * The most that another Node process has had in buffers beside its heap. A buffer counts from when it is made, though
 * nobody wrote to it; resident memory only counts its pages that were touched, so it can not show a buffer that is made by
 * a length that somebody only said.
 */
export class ExternalPeak extends ProcessProbe<ExternalBytes> {
  constructor() {
    super({ signal: 'SIGWINCH', source, what: 'what its buffers took' });
  }

  /** Of the process, which runs with `nodeOption`. */
  take(pid: number): Promise<ExternalBytes> {
    return this.ask(pid);
  }
}
