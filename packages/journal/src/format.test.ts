import type { Epoch, SegmentId, ShardId } from '@robustmq/core';
import { crc32c, silentLogger } from '@robustmq/core';
import { SimDisk } from '@robustmq/sim';
import { describe, expect, it } from 'vitest';
import { BlockIndex } from './block-index.ts';
import type { Checkpoint } from './checkpoint.ts';
import { decodeCheckpoint, encodeCheckpoint, oldestGenerationOf } from './checkpoint.ts';
import { FoldCheckpoints } from './fold-checkpoints.ts';
import { encodeFooter } from './footer.ts';
import { checkItem, decodeFence, encodeFence, fenceCrc } from './wal-items.ts';

/*
 * The disk format is permanent: these bytes were written by hand from the comments in the code, checksums apart, and a
 * change that breaks them needs a new version of the format.
 */

function bytes(...parts: readonly string[]): Buffer {
  return Buffer.from(parts.join('').replaceAll(' ', ''), 'hex');
}

function withCrc(before: Buffer): Buffer {
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32c(before));
  return Buffer.concat([before, crc]);
}

describe('storage 2.5: the checkpoint at the head of a file of the log', () => {
  const checkpoint: Checkpoint = {
    oldestGeneration: 0x1_0000_0002,
    fences: [{ shard: 7 as ShardId, epoch: 9 as Epoch }],
    segments: [
      {
        shard: 7 as ShardId,
        id: 0x12 as SegmentId,
        epoch: 8 as Epoch,
        baseOffset: 100,
        sealed: false,
        stored: { entry: 4, offset: 120, maxTimestamp: 1000, bytes: 5000, crc: 0xdeadbeef, control: true },
        lostTo: 0,
        blocks: [{ firstOffset: 100, position: 0, maxTimestamp: 1000, flags: 1 }],
      },
    ],
  };
  const vector = bytes(
    '01 0000000100000002',
    '00000001 00000007 00000009',
    '00000001 00000007 0000000000000012 00000008 0000000000000064 00',
    '00000004 0000000000000078 00000000000003e8 0000000000001388 deadbeef 01',
    '0000000000000000',
    '00000001 0000000000000064 00000000 00000000000003e8 01',
  );

  it('has these bytes, and comes back from them', () => {
    expect(encodeCheckpoint(checkpoint).toString('hex')).toBe(vector.toString('hex'));
    expect(decodeCheckpoint(vector)).toEqual(checkpoint);
    expect(oldestGenerationOf([vector])).toBe(0x1_0000_0002);
  });

  it('is refused when it is cut anywhere, or of another version', () => {
    for (let length = 0; length < vector.length; length++) {
      expect(() => decodeCheckpoint(vector.subarray(0, length)), `${length}`).toThrow();
    }
    expect(() => oldestGenerationOf([])).toThrow('the input ends early');
    expect(() => oldestGenerationOf([vector.subarray(0, 8)])).toThrow('the input ends early');
    const later = Buffer.from(vector);
    later[0] = 2;
    expect(() => decodeCheckpoint(later)).toThrow('another version');
  });
});

describe('replication 2.5: the fence in the log', () => {
  const fence = { shard: 7 as ShardId, epoch: 9 as Epoch };
  const vector = withCrc(bytes('524d5146 01 00 0000 00000007 00000009'));

  it('has these bytes, and comes back from them', () => {
    expect(encodeFence(fence).toString('hex')).toBe(vector.toString('hex'));
    expect(decodeFence(vector)).toEqual(fence);
    expect(checkItem(vector)).toBe(fenceCrc(vector));
  });

  it('is no item of the log with any bit flipped or any byte missing', () => {
    for (let bit = 0; bit < vector.length * 8; bit++) {
      const damaged = Buffer.from(vector);
      damaged[bit >> 3] = damaged[bit >> 3]! ^ (1 << (bit & 7));
      expect(checkItem(damaged), `bit ${bit}`).toBeNull();
    }
    for (let length = 0; length < vector.length; length++) {
      expect(checkItem(vector.subarray(0, length))).toBeNull();
    }
  });
});

describe('storage 3.2: the footer of a sealed segment', () => {
  it('has these bytes', () => {
    const index = new BlockIndex(1000);
    index.add(100, 900, 50, false);
    index.add(110, 700, 60, false);
    index.setFilter(0, Uint32Array.of(0x11223344, 2, 3, 4, 5, 6, 7, 8));
    index.setFilter(1, null);
    const facts = {
      shard: 7 as ShardId,
      segment: 0x12 as SegmentId,
      epoch: 3 as Epoch,
      baseOffset: 100,
      endOffset: 120,
      maxTimestamp: 60,
      endEntry: 1,
      chainCrc: 0xdeadbeef,
    };
    const filters = bytes('11223344 00000002 00000003 00000004 00000005 00000006 00000007 00000008');
    const rows = bytes(
      '0000000000000064 00000000 0000000000000032 00000002 00000020',
      '000000000000006e 00000384 000000000000003c 00000002 00000000',
    );
    const crcOf = (region: Buffer): string => crc32c(region).toString(16).padStart(8, '0');
    const trailer = withCrc(
      bytes(
        '524d5153 01 01 0000 00000007 00000002',
        '0000000000000012 0000000000000064 0000000000000078 000000000000003c',
        '00000001 deadbeef 0000000000000640 00000003',
        `00000000 00000020 ${crcOf(filters)} 00000038 ${crcOf(rows)} 00000000`,
      ),
    );
    expect(trailer).toHaveLength(96);
    const footer = Buffer.concat([filters, rows, trailer]);
    expect(encodeFooter(facts, index).toString('hex')).toBe(footer.toString('hex'));
  });
});

describe('storage 4.2: the file of a fold checkpoint', () => {
  const path = '/folds/7.fold';

  async function saved(): Promise<{ disk: SimDisk; folds: FoldCheckpoints }> {
    const disk = new SimDisk();
    const folds = new FoldCheckpoints(disk, '/folds', silentLogger);
    await folds.start();
    await folds.save(7 as ShardId, 0x1234, Buffer.from('state'));
    return { disk, folds };
  }

  it('has these bytes', async () => {
    const { disk } = await saved();
    const head = bytes('524d5143 01 00 0000 00000007 0000000000001234 00000005');
    const state = Buffer.from('state');
    const crc = Buffer.alloc(4);
    crc.writeUInt32BE(crc32c(Buffer.concat([head, state])));
    expect(disk.peek(path).toString('hex')).toBe(Buffer.concat([head, crc, state]).toString('hex'));
  });

  it('is not used with any bit flipped, and not of another shard', async () => {
    const { disk, folds } = await saved();
    const { length } = disk.peek(path);
    for (let bit = 0; bit < length * 8; bit++) {
      disk.rot(path, bit);
      expect(await folds.load(7 as ShardId), `bit ${bit}`).toBeNull();
      disk.rot(path, bit);
    }
    expect(await folds.load(7 as ShardId)).toMatchObject({ coveredTo: 0x1234 });
    await disk.rename(path, '/folds/8.fold');
    expect(await folds.load(8 as ShardId)).toBeNull();
  });

  it('saves of one shard follow each other, and a removal follows them', async () => {
    const { folds, disk } = await saved();
    const saves = [1, 2, 3].map((at) => folds.save(7 as ShardId, at, Buffer.alloc(at * 100, at)));
    await Promise.all(saves);
    expect(await folds.load(7 as ShardId)).toEqual({ coveredTo: 3, state: Buffer.alloc(300, 3) });
    const last = folds.save(7 as ShardId, 4, Buffer.from('late'));
    await folds.remove(7 as ShardId);
    await last;
    expect(await disk.list('/folds')).toEqual([]);
  });
});
