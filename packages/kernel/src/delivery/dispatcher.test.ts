import { silentLogger } from '@robustmq/core';
import type { Epoch, Offset, ShardId } from '@robustmq/core';
import { BatchEncoder, codecs, compressBatch, decompressBatch, RecordInput } from '@robustmq/record';
import { beforeEach, describe, expect, it } from 'vitest';
import { LogBatch } from '../log/log-batch.ts';
import { ImageFixture } from '../names/image-fixture.ts';
import { SubjectTable } from '../names/subject-table.ts';
import type { RouteFrame } from '../ports/broker-mesh.ts';
import type { Metadata, MetadataImage, ShardRecord } from '../ports/metadata.ts';
import { Router } from '../router/router.ts';
import { subscriptionTo } from '../router/subscription-fixture.ts';
import { BatchDecoder } from './batch-decoder.ts';
import { Dispatcher } from './dispatcher.ts';

const fixture = new ImageFixture();
const topic = fixture.topic('t', { shards: 1 });
const shard = topic.shards[0]!;

/** The dispatcher with a decoder that finishes when the test says so, and a port that keeps what it hears. */
class Stage {
  readonly heard: string[] = [];
  readonly router = new Router({ defaultTopic: fixture.defaultTopic });
  readonly dispatcher: Dispatcher;
  #decoding: (() => void)[] = [];
  #next: Offset = 0;

  constructor() {
    const record = { id: shard, topic: topic.id } as ShardRecord;
    const image: MetadataImage = { ...fixture.image(), shards: new Map([[shard, record]]) };
    const metadata = { image } as Metadata;
    const subjects = new SubjectTable({ ...fixture, image: () => image });
    const decoder = new BatchDecoder(
      this.router,
      subjects,
      (buffer, start, end) =>
        new Promise((resolve, reject) => {
          this.#decoding.push(() => {
            try {
              resolve(decompressBatch(buffer, start, end));
            } catch (error) {
              reject(error as Error);
            }
          });
        }),
    );
    this.dispatcher = new Dispatcher(this.router, metadata, decoder, silentLogger);
    this.dispatcher.addPort({
      appended: (batch) => this.#hear('appended', batch.records.offset(0), batch.records.value(0)),
      committed: (batch) => this.#hear('committed', batch.records.offset(0), batch.records.value(0)),
      gap: (of, from) => this.heard.push(`gap ${of === shard ? from : 'elsewhere'}`),
    });
    this.router.subscribe(subscriptionTo('t/#', { guarantee: 1 }));
    this.dispatcher.opened(shard, 0);
  }

  /** A frame of one-record batches; the values of compressed ones begin with `z`. */
  frame(values: readonly string[], from = this.#next): RouteFrame {
    const batches = values.map((value, at) => batchOf(value, from + at));
    const to = from + values.length;
    this.#next = to;
    return { shard, epoch: 1 as Epoch, from, to, batches };
  }

  /** Lets the oldest decompression finish. */
  async decoded(): Promise<void> {
    this.#decoding.shift()?.();
    for (let turns = 0; turns < 3; turns++) await new Promise((resolve) => setImmediate(resolve));
  }

  get waiting(): number {
    return this.#decoding.length;
  }

  #hear(path: string, offset: Offset, value: Buffer | null): void {
    const text = value?.toString() ?? '';
    this.heard.push(`${path} ${offset} ${text.length > 9 ? text.slice(0, 2) : text}`);
  }
}

function batchOf(value: string, offset: Offset): LogBatch {
  const encoder = new BatchEncoder({ batchBytesMax: 2 ** 24 });
  const record = new RecordInput();
  record.timestamp = 1;
  encoder.append(record.setKey(Buffer.from('k')).setValue(Buffer.from(value)));
  let buffer = encoder.finish({ baseOffset: offset });
  if (value.startsWith('z')) buffer = compressBatch(codecs.gzip, buffer);
  const batch = new LogBatch(false).fill(buffer, 0, buffer.length, 1, 1);
  batch.baseOffset = offset;
  return batch;
}

let stage: Stage;

beforeEach(() => {
  stage = new Stage();
});

describe('frames', () => {
  it('are handed over in order, and move where the live path stands', () => {
    stage.dispatcher.committed(stage.frame(['a', 'b']));
    expect(stage.heard).toEqual(['committed 0 a', 'committed 1 b']);
    expect(stage.dispatcher.routedTo(shard)).toBe(2);
  });

  it('nobody wants cost no decode', () => {
    const frame = stage.frame(['zz']);
    (frame.batches[0] as LogBatch).nothingCommittedEpoch = stage.router.epoch;
    stage.dispatcher.committed(frame);
    expect([stage.waiting, stage.dispatcher.routedTo(shard)]).toEqual([0, 1]);
  });

  it('semantics 3.3: that come after a gap are told of, and cursors read what is missing', () => {
    stage.dispatcher.committed(stage.frame(['a']));
    stage.dispatcher.committed(stage.frame(['d'], 3));
    expect(stage.heard).toEqual(['committed 0 a', 'gap 1', 'committed 3 d']);
    expect(stage.dispatcher.routedTo(shard)).toBe(4);
  });

  it('semantics 3.3: of a shard that was opened again behind what was routed: told from there', () => {
    stage.dispatcher.committed(stage.frame(['a']));
    stage.dispatcher.opened(shard, 1);
    expect(stage.heard).toEqual(['committed 0 a']);
    stage.dispatcher.opened(shard, 5);
    expect(stage.heard).toEqual(['committed 0 a', 'gap 1']);
    expect(stage.dispatcher.routedTo(shard)).toBe(5);
  });

  it('with a batch that can not be decoded go on behind it', async () => {
    const frame = stage.frame(['a', 'zb', 'c']);
    const bad = frame.batches[1]!;
    bad.buffer.fill(0xff, 70);
    stage.dispatcher.committed(frame);
    await stage.decoded();
    expect(stage.heard).toEqual(['committed 0 a', 'committed 2 c']);
    expect([stage.dispatcher.undecodable, stage.dispatcher.routedTo(shard)]).toEqual([1, 3]);
  });
});

describe('a batch that is decoded off the event loop', () => {
  it('holds back everything behind it, appended and committed alike', async () => {
    stage.dispatcher.committed(stage.frame(['za']));
    const next = stage.frame(['b', 'zc']);
    stage.dispatcher.appended(next);
    stage.dispatcher.committed(next);
    expect(stage.heard).toEqual([]);
    while (stage.waiting > 0) await stage.decoded();
    expect(stage.heard).toEqual([
      'committed 0 za',
      'appended 1 b',
      'appended 2 zc',
      'committed 1 b',
      'committed 2 zc',
    ]);
    expect(stage.dispatcher.routedTo(shard)).toBe(3);
  });

  it('regression: who reads the log met the live path at the beginning of a frame that was half handed over', async () => {
    stage.dispatcher.committed(stage.frame(['a', 'b', 'zc', 'd']));
    // A reader that becomes live now gets `zc` and `d` live, so it must have read `a` and `b`.
    expect(stage.heard).toEqual(['committed 0 a', 'committed 1 b']);
    expect(stage.dispatcher.routedTo(shard)).toBe(2);
    await stage.decoded();
    expect(stage.dispatcher.routedTo(shard)).toBe(4);
  });

  it('regression: frames that follow while it waits were taken for a gap', async () => {
    stage.dispatcher.committed(stage.frame(['za']));
    stage.dispatcher.committed(stage.frame(['b']));
    await stage.decoded();
    expect(stage.heard).toEqual(['committed 0 za', 'committed 1 b']);
  });

  it('regression: a shard that opened again meanwhile routed what cursors read, too', async () => {
    stage.dispatcher.committed(stage.frame(['za']));
    stage.dispatcher.committed(stage.frame(['b']));
    stage.dispatcher.opened(shard, 2);
    await stage.decoded();
    expect(stage.heard).toEqual(['gap 0']);
    expect(stage.dispatcher.routedTo(shard)).toBe(2);
    stage.dispatcher.committed(stage.frame(['c']));
    expect(stage.heard).toEqual(['gap 0', 'committed 2 c']);
  });

  it('holds back 16 MiB at most: beyond, sessions read the log', async () => {
    stage.dispatcher.committed(stage.frame(['za']));
    for (let at = 0; at < 16; at++) stage.dispatcher.committed(stage.frame(['x'.repeat(1024 * 1024)]));
    expect(stage.heard).toEqual(['gap 0']);
    expect(stage.dispatcher.routedTo(shard)).toBe(17);
    stage.dispatcher.committed(stage.frame(['b']));
    expect(stage.heard).toEqual(['gap 0', 'committed 17 b']);
    await stage.decoded();
    expect(stage.dispatcher.routedTo(shard)).toBe(18);
  });

  it('of a topic that is gone meanwhile is handed to nobody', async () => {
    stage.dispatcher.committed(stage.frame(['za']));
    stage.dispatcher.forget(shard);
    await stage.decoded();
    expect(stage.heard).toEqual([]);
    expect(stage.dispatcher.routedTo(shard as ShardId)).toBe(undefined);
  });
});
