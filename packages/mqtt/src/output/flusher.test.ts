import { systemClock } from '@robustmq/core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Transport } from '../transport/transport.ts';
import { Flusher } from './flusher.ts';
import { Outbox } from './outbox.ts';
import { smallPooledMax, smallSlabBytes } from './slab-pool.ts';

describe('what a scan of a backlog finds', () => {
  let flusher: Flusher;

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout'] });
    flusher = new Flusher(systemClock);
  });

  afterEach(() => void vi.useRealTimers());

  function outbox(): { readonly box: Outbox; readonly written: string[] } {
    const written: string[] = [];
    const transport = {
      unsentBytes: 0,
      write: (parts: readonly Buffer[]) => void written.push(Buffer.concat(parts).toString()),
    } as unknown as Transport;
    const bound = { unsentBytesMax: Infinity, full: () => undefined, relieved: () => undefined };
    return { box: new Outbox(transport, flusher, bound), written };
  }

  function find(box: Outbox, text: string): void {
    flusher.gathers = true;
    box.append(Buffer.from(text));
    flusher.gathers = false;
  }

  it('leaves in one write with what is found in the next turns', async () => {
    const { box, written } = outbox();
    for (const text of ['a', 'b', 'c']) {
      find(box, text);
      await vi.advanceTimersByTimeAsync(10);
    }
    expect(written).toEqual([]);
    await vi.advanceTimersByTimeAsync(100);
    expect(written).toEqual(['abc']);
    find(box, 'd');
    await vi.advanceTimersByTimeAsync(100);
    expect(written).toEqual(['abc', 'd']);
  });

  it('leaves in order with anything else that goes to the client', async () => {
    const { box, written } = outbox();
    find(box, 'a');
    box.append(Buffer.from('b'));
    find(box, 'c');
    await vi.advanceTimersByTimeAsync(0);
    expect(written).toEqual(['abc']);
    await vi.advanceTimersByTimeAsync(200);
    expect(written).toEqual(['abc']);
  });

  it('leaves with the turn when it hurries, and at once when the broker stops', async () => {
    const first = outbox();
    const second = outbox();
    find(first.box, 'a');
    first.box.hurry();
    await vi.advanceTimersByTimeAsync(0);
    expect(first.written).toEqual(['a']);
    find(second.box, 'b');
    flusher.stop();
    expect(second.written).toEqual(['b']);
    first.box.hurry();
    await vi.advanceTimersByTimeAsync(200);
    expect(first.written).toEqual(['a']);
  });

  it('waits on, when another connection ends', async () => {
    const first = outbox();
    const second = outbox();
    for (const { box } of [first, second]) find(box, 'a');
    first.box.flush();
    first.box.drop();
    await vi.advanceTimersByTimeAsync(10);
    expect([first.written, second.written]).toEqual([['a'], []]);
    await vi.advanceTimersByTimeAsync(100);
    expect(second.written).toEqual(['a']);
  });

  it('leaves with the turn when it fills half a slab', async () => {
    const { box, written } = outbox();
    find(box, 'a'.repeat(smallSlabBytes / 2 - 1));
    await vi.advanceTimersByTimeAsync(0);
    expect(written).toEqual([]);
    find(box, 'b');
    await vi.advanceTimersByTimeAsync(0);
    expect(written.length).toBe(1);
  });

  it('waits for a bounded number of connections', async () => {
    const all = Array.from({ length: smallPooledMax + 10 }, outbox);
    for (const { box } of all) find(box, 'a');
    await vi.advanceTimersByTimeAsync(0);
    expect(all.filter(({ written }) => written.length > 0).length).toBe(10);
    await vi.advanceTimersByTimeAsync(100);
    for (const { written } of all) expect(written).toEqual(['a']);
  });

  it('goes nowhere once the connection is gone', async () => {
    const { box, written } = outbox();
    find(box, 'a');
    box.drop();
    await vi.advanceTimersByTimeAsync(200);
    expect(written).toEqual([]);
  });
});
