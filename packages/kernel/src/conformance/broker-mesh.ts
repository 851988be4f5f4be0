import assert from 'node:assert/strict';
import type { Epoch, Offset, ShardId } from '@robustmq/core';
import type { BrokerMesh, MeshListener, RouteFrame } from '../ports/broker-mesh.ts';
import type { RoutedBatch } from '../router/routed-batch.ts';
import type { ConformanceTestApi } from './metadata.ts';

/** A mesh under test, seen from two brokers, which may be the same one. */
export interface BrokerMeshSubject {
  /** Sends frames of the shards that it owns. */
  readonly owner: BrokerMesh;
  /** Registers filters and takes frames; nobody listens on it yet. */
  readonly receiver: BrokerMesh;
  close(): Promise<void>;
}

export type MakeBrokerMesh = (options: {
  /** What the owner answers to a registration. */
  readonly ownedNext: (filter: string) => ReadonlyMap<ShardId, Offset>;
}) => Promise<BrokerMeshSubject>;

const deadlineMs = 5000;
const one = 1 as ShardId;
const two = 2 as ShardId;

/** The promises of `BrokerMesh` that every implementation keeps; each test runs on a subject of its own. */
export function brokerMeshConformance(api: ConformanceTestApi, make: MakeBrokerMesh): void {
  const withMesh = (body: (mesh: BrokerMeshSubject, got: Recorder) => Promise<void>) => async () => {
    const subject = await make({ ownedNext });
    try {
      const recorder = new Recorder();
      subject.receiver.listen(recorder);
      await body(subject, recorder);
    } finally {
      await subject.close();
    }
  };
  api.describe('BrokerMesh', () => {
    registering(api, withMesh);
    routing(api, withMesh);
  });
}

type WithMesh = (body: (mesh: BrokerMeshSubject, got: Recorder) => Promise<void>) => () => Promise<void>;

/** The owner has two shards; `one/...` can be in the first, `two/...` in the second, `#` in both. */
function ownedNext(filter: string): ReadonlyMap<ShardId, Offset> {
  const next = new Map<ShardId, Offset>();
  if (filter === '#' || filter.startsWith('one/')) next.set(one, 100);
  if (filter === '#' || filter.startsWith('two/')) next.set(two, 0);
  return next;
}

function registering({ test }: ConformanceTestApi, withMesh: WithMesh): void {
  test(
    'a registration answers from which offset each shard that may match is routed',
    withMesh(async ({ receiver }) => {
      assert.deepEqual(entries(await receiver.register(['one/+'], [])), [[one, 100]]);
      assert.deepEqual(entries(await receiver.register(['one/a', 'two/a'], [])), [
        [one, 100],
        [two, 0],
      ]);
      assert.deepEqual(entries(await receiver.register(['elsewhere'], ['one/+'])), []);
    }),
  );
  test(
    'a registration that only removes answers with nothing, and what is removed can come again',
    withMesh(async ({ receiver }) => {
      await receiver.register(['#'], []);
      assert.deepEqual(entries(await receiver.register([], ['#'])), []);
      assert.equal((await receiver.register(['#'], [])).size, 2);
    }),
  );
}

function routing({ test }: ConformanceTestApi, withMesh: WithMesh): void {
  test(
    'committed frames of a shard arrive in order and leave no gap from the registered offset on',
    withMesh(async ({ owner, receiver }, got) => {
      await receiver.register(['#'], []);
      for (let from = 100; from < 150; from += 2) owner.committed(frameOf(one, from, from + 2));
      const frames = await got.until('committed', (frame) => frame.to === 150);
      let next = 100;
      for (const frame of frames) {
        assert.equal(frame.from, next, 'a frame begins where the last one ended');
        next = frame.to;
      }
      assert.equal(next, 150);
    }),
  );
  test(
    'a frame arrives with its shard, epoch and batches as they were sent',
    withMesh(async ({ owner, receiver }, got) => {
      await receiver.register(['#'], []);
      const sent = frameOf(two, 0, 3);
      owner.committed(sent);
      const [frame] = await got.wait('committed', 1);
      assert.ok(frame !== undefined);
      assert.deepEqual([frame.shard, frame.epoch, frame.from, frame.to], [two, 4, 0, 3]);
      assert.deepEqual(frame.batches.map(contentOf), sent.batches.map(contentOf));
    }),
  );
  test(
    'what was appended arrives as that, in order, and before its own commit',
    withMesh(async ({ owner, receiver }, got) => {
      await receiver.register(['#'], []);
      for (let from = 100; from < 110; from++) {
        owner.appended(frameOf(one, from, from + 1));
        owner.committed(frameOf(one, from, from + 1));
      }
      await got.wait('committed', 10);
      const appended = await got.wait('appended', 10);
      assert.deepEqual(
        appended.map((frame) => frame.from),
        Array.from({ length: 10 }, (_, i) => 100 + i),
      );
      for (let from = 100; from < 110; from++) {
        assert.ok(got.order.indexOf(`appended ${from}`) < got.order.indexOf(`committed ${from}`));
      }
    }),
  );
  test(
    'an empty committed frame moves the covered range',
    withMesh(async ({ owner, receiver }, got) => {
      await receiver.register(['#'], []);
      owner.committed({ ...frameOf(one, 100, 101), batches: [] });
      owner.committed(frameOf(one, 101, 102));
      const frames = await got.until('committed', (frame) => frame.to === 102);
      assert.equal(frames[0]!.from, 100);
    }),
  );
}

function entries(map: ReadonlyMap<ShardId, Offset>): [ShardId, Offset][] {
  return [...map].sort(([a], [b]) => a - b);
}

/** A frame of one batch whose bytes lie inside a larger buffer. */
function frameOf(shard: ShardId, from: Offset, to: Offset): RouteFrame {
  const content = Buffer.from(`??records ${from} to ${to}??`);
  const batch: RoutedBatch = {
    baseOffset: from,
    count: to - from,
    buffer: content,
    start: 2,
    end: content.length - 2,
    brokerEncoded: from % 2 === 0,
    subjects: null,
  };
  return { shard, epoch: 4 as Epoch, from, to, batches: [batch] };
}

function contentOf(batch: RoutedBatch): unknown[] {
  const { baseOffset, count, brokerEncoded, buffer, start, end } = batch;
  return [baseOffset, count, brokerEncoded, buffer.toString('latin1', start, end)];
}

type Path = 'appended' | 'committed';

/** Keeps what arrives and wakes who waits for it. */
class Recorder implements MeshListener {
  readonly order: string[] = [];
  readonly #frames: Record<Path, RouteFrame[]> = { appended: [], committed: [] };
  #waiting: (() => void)[] = [];

  appended(frame: RouteFrame): void {
    this.#take('appended', frame);
  }

  committed(frame: RouteFrame): void {
    this.#take('committed', frame);
  }

  /** The frames so far, once there are `count`. */
  async wait(path: Path, count: number): Promise<readonly RouteFrame[]> {
    const frames = this.#frames[path];
    await this.#when(() => frames.length >= count, `${count} ${path} frames`);
    return frames;
  }

  /** The frames so far, once one of them fits. */
  async until(path: Path, fits: (frame: RouteFrame) => boolean): Promise<readonly RouteFrame[]> {
    const frames = this.#frames[path];
    await this.#when(() => frames.some(fits), `a certain ${path} frame`);
    return frames;
  }

  #take(path: Path, frame: RouteFrame): void {
    this.order.push(`${path} ${frame.from}`);
    this.#frames[path].push(frame);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  async #when(condition: () => boolean, what: string): Promise<void> {
    const signal = AbortSignal.timeout(deadlineMs);
    while (!condition()) {
      await new Promise<void>((resolve, reject) => {
        const late = (): void => reject(new Error(`${what} did not arrive within ${deadlineMs} ms`));
        if (signal.aborted) late();
        signal.addEventListener('abort', late, { once: true });
        this.#waiting.push(() => {
          signal.removeEventListener('abort', late);
          resolve();
        });
      });
    }
  }
}
