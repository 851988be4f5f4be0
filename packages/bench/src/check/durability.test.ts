import { describe, expect, it } from 'vitest';
import { diskCounters, synchronousFiles } from './disk-counters.ts';
import { type DurabilityEvidence, finding } from './durability.ts';

describe('durability', () => {
  const kept: DurabilityEvidence = {
    acknowledgedBytes: 6_400_000,
    writtenBytes: 9_000_000,
    writes: 120,
    syncs: 0,
    files: { open: 3, synchronous: 3 },
    counted: { acknowledged: 1000, found: 1000 },
    restartMs: 700,
  };

  it('holds when the log wrote what was acknowledged and the restart found it', () => {
    expect(finding(kept)).toEqual({
      text:
        'acknowledged 6 MB, the log wrote 9 MB in 120 writes, 3 of 3 log files O_DSYNC; ' +
        'kill -9 under load, up again in 700 ms, 1000 of 1000 acknowledged found',
      failure: null,
    });
  });

  it.each([
    [{ counted: { acknowledged: 1000, found: 999 } }, 'kill -9 lost 1 of 1000 acknowledged'],
    [{ counted: { acknowledged: 0, found: 0 } }, 'nothing was acknowledged before the kill'],
    [{ writtenBytes: 6_000_000 }, 'the log wrote 6 MB for 6 MB acknowledged'],
    [{ files: { open: 3, synchronous: 0 } }, 'the log was written without a sync'],
  ])('fails for %j', (change, failure) => {
    expect(finding({ ...kept, ...change }).failure).toBe(failure);
  });

  it('takes a log that syncs after its writes as well, and one whose files cannot be seen', () => {
    expect(finding({ ...kept, files: { open: 3, synchronous: 0 }, syncs: 120 }).failure).toBeNull();
    expect(finding({ ...kept, files: null }).failure).toBeNull();
  });

  it('reads the counters of the log', () => {
    const metrics = [
      '# TYPE robustmq_disk_written_bytes_total counter',
      'robustmq_disk_written_bytes_total{class="segment"} 5',
      'robustmq_disk_written_bytes_total{class="wal"} 4096',
      'robustmq_disk_writes_total{class="wal"} 3',
      'robustmq_disk_syncs_total{class="wal"} 2',
    ].join('\n');
    expect(diskCounters(metrics)).toEqual({ writtenBytes: 4096, writes: 3, syncs: 2 });
    expect(() => diskCounters('')).toThrow('no metric');
  });

  it.runIf(process.platform === 'linux')('sees no log files in a process that has none', () => {
    expect(synchronousFiles([process.pid], '/no/such/folder/')).toEqual({ open: 0, synchronous: 0 });
    expect(synchronousFiles([2 ** 30], '/')).toBeNull();
  });
});
