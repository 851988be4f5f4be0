import type { JournalUuid, Logger, StateChange } from '@robustmq/core';
import { RobustError } from '@robustmq/core';
import type { MetadataCommand, MetadataResult } from '@robustmq/kernel';
import { MemoryStateStore, SimClock, SimDisk, SimRandom, settle } from '@robustmq/sim';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { metadataConformance } from '@robustmq/kernel/conformance';
import type { LocalMetadataOptions } from './local-metadata.ts';
import { LocalMetadata, openLocalMetadata } from './local-metadata.ts';
import { MetadataState } from './state/metadata-state.ts';
import type { Dice } from './testing/commands.ts';
import {
  commandFrom,
  createTopic,
  diceKinds,
  registerJournal,
  roll,
  startBroker,
  stateOptions,
} from './testing/commands.ts';

const mebibyte = 1024 * 1024;

/** What outlives a process: disk, store and time. */
class Machine {
  disk = new SimDisk({ seed: 7 });
  store = new MemoryStateStore();
  readonly clock = new SimClock();
  readonly errors: string[] = [];
  readonly fatal: unknown[] = [];
  node: LocalMetadata | null = null;

  async boot(options: Partial<LocalMetadataOptions> = {}): Promise<LocalMetadata> {
    await this.disk.mkdir('data');
    await this.disk.syncDir('');
    const node = openLocalMetadata({
      ...stateOptions,
      disk: this.disk,
      folder: 'data/meta',
      store: this.store,
      uuid: 'e'.repeat(32) as JournalUuid,
      random: new SimRandom(11),
      clock: this.clock,
      logger: loggerInto(this.errors),
      onFatal: (error) => this.fatal.push(error),
      ...options,
    });
    await node.start();
    this.node = node;
    return node;
  }

  async reboot(options: Partial<LocalMetadataOptions> = {}): Promise<LocalMetadata> {
    await this.node?.stop();
    return this.boot(options);
  }

  /** Log files that were written, by name. */
  async logFiles(): Promise<string[]> {
    const entries = await this.disk.list('data/meta/wal');
    return entries.map((entry) => `data/meta/wal/${entry.name}`);
  }

  async snapshots(): Promise<string[]> {
    const entries = await this.disk.list('data/meta/snapshots');
    return entries.map((entry) => `data/meta/snapshots/${entry.name}`);
  }
}

function loggerInto(errors: string[]): Logger {
  const drop = (): void => undefined;
  const logger: Logger = {
    debug: drop,
    info: drop,
    warn: drop,
    error: (_fields, message) => errors.push(message),
    child: () => logger,
  };
  return logger;
}

let machine: Machine;

beforeEach(() => {
  machine = new Machine();
});

afterEach(async () => {
  await machine.node?.stop();
  expect(machine.fatal).toEqual([]);
});

async function accepted(node: LocalMetadata, ...commands: MetadataCommand[]): Promise<MetadataResult[]> {
  const results = await node.propose(commands);
  return results.map((result) => {
    if (result instanceof Error) throw result;
    return result;
  });
}

/** Some topics with segments, one frame of the log for each command. */
async function fill(node: LocalMetadata, topics = 5): Promise<void> {
  if (node.image.brokers.size === 0) await accepted(node, registerJournal(), startBroker());
  const first = node.image.topics.size;
  for (let at = first; at < first + topics; at++)
    await accepted(node, createTopic(`topic-${at}`, { shards: 2 }));
}

metadataConformance({ describe, test }, async ({ defaultTopic }) => {
  const own = new Machine();
  const node = await own.boot({ defaultTopic });
  return { metadata: node, close: () => node.stop() };
});

describe('start and stop', () => {
  test.each(['kept', 'empty'])('a clean restart with the store %s finds the same state', async (store) => {
    const node = await machine.boot();
    await fill(node);
    const { stateHash, image } = node;
    const { revision } = image;
    await node.stop();
    if (store === 'empty') machine.store = new MemoryStateStore();
    const again = await machine.boot();
    expect([again.stateHash, again.image.revision]).toEqual([stateHash, revision]);
    expect(again.image.topicsByName).toEqual(image.topicsByName);
    const [result] = await accepted(again, createTopic('later'));
    expect(result!.revision).toBe(revision + 1);
    expect(machine.errors).toEqual([]);
  });

  test('forty restarts neither fill the log nor the folder', async () => {
    await machine.boot({ maxBytes: 16 * mebibyte });
    for (let boot = 0; boot < 40; boot++) {
      const node = await machine.reboot({ maxBytes: 16 * mebibyte });
      await fill(node, 1);
    }
    expect(machine.node!.image.topics.size).toBe(40);
    expect((await machine.logFiles()).length).toBeLessThanOrEqual(4);
    expect((await machine.snapshots()).length).toBe(2);
  });

  test('a stop answers what was proposed and refuses what comes after', async () => {
    const node = await machine.boot();
    await accepted(node, registerJournal(), startBroker());
    const pending = accepted(node, createTopic('a'));
    const stopping = node.stop();
    await expect(node.propose([createTopic('b')])).rejects.toMatchObject({ code: 'METADATA_UNAVAILABLE' });
    expect((await pending)[0]!.topic!.name).toBe('a');
    await stopping;
    await node.stop();
  });

  test.each([{ clusterId: 'other' }, { defaultTopic: 'other' }])(
    'the folder of %j is refused',
    async (other) => {
      await fill(await machine.boot());
      await expect(machine.reboot(other)).rejects.toMatchObject({ code: 'META_IDENTITY' });
      machine.node = null;
    },
  );

  test('a watch that began before the start sees what is proposed after it', async () => {
    const node = await machine.boot();
    await fill(node);
    await node.stop();
    const seen: number[] = [];
    const again = openLocalMetadata({
      ...stateOptions,
      disk: machine.disk,
      folder: 'data/meta',
      store: machine.store,
      uuid: 'e'.repeat(32) as JournalUuid,
      random: new SimRandom(12),
      clock: machine.clock,
      logger: loggerInto(machine.errors),
      onFatal: (error) => machine.fatal.push(error),
    });
    machine.node = again;
    again.watch((update) => seen.push(update.revision));
    await again.start();
    const [result] = await accepted(again, createTopic('new'));
    expect(seen).toEqual([result!.revision]);
  });
});

describe('proposals', () => {
  test('all that one turn proposes shares one write', async () => {
    const node = await machine.boot();
    await accepted(node, registerJournal(), startBroker());
    const before = machine.disk.ops;
    let writes = 0;
    machine.disk.fault = (op) => {
      if (op.kind === 'pwrite' && op.io === 'wal') writes++;
      return undefined;
    };
    await Promise.all(Array.from({ length: 100 }, (_, at) => accepted(node, createTopic(`t${at}`))));
    expect(writes).toBe(1);
    expect(machine.disk.ops).toBe(before + 1);
  });

  test('nothing is applied or told before it is durable', async () => {
    const node = await machine.boot();
    await accepted(node, registerJournal(), startBroker());
    let seen = 0;
    node.watch(() => seen++);
    machine.disk.fault = (op) => {
      if (op.kind === 'pwrite') expect([seen, node.image.topics.size]).toEqual([0, 0]);
      return undefined;
    };
    await accepted(node, createTopic('a'));
    expect([seen, node.image.topics.size]).toEqual([1, 1]);
  });

  test('a command larger than a frame is refused in its place', async () => {
    const node = await machine.boot();
    await accepted(node, registerJournal(), startBroker());
    const large = createTopic('large', { config: { 'retention.ms': '1'.repeat(2 * mebibyte) } });
    const results = await node.propose([large, createTopic('small')]);
    expect(results[0]).toMatchObject({ code: 'BATCH_TOO_LARGE' });
    expect(results[1]).toMatchObject({ topic: { name: 'small' } });
  });

  test('more than the bound on the way is refused and may be sent again', async () => {
    const node = await machine.boot();
    await accepted(node, registerJournal(), startBroker());
    const big = (name: string): MetadataCommand =>
      createTopic(name, { config: { 'retention.ms': '1'.repeat(mebibyte - 300) } });
    const sent = Array.from({ length: 12 }, (_, at) => node.propose([big(`t${at}`)]));
    const outcomes = await Promise.allSettled(sent);
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(refused.length).toBeGreaterThan(0);
    for (const { reason } of refused)
      expect(reason).toMatchObject({ code: 'METADATA_UNAVAILABLE', retriable: true });
    await accepted(node, createTopic('after'));
  });

  test('a failed disk leaves the outcome unknown and ends the service', async () => {
    const node = await machine.boot();
    await accepted(node, registerJournal(), startBroker());
    machine.disk.fault = (op) => (op.kind === 'pwrite' && op.io === 'wal' ? 'DISK_IO' : undefined);
    await expect(node.propose([createTopic('a')])).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    await expect(node.propose([createTopic('b')])).rejects.toMatchObject({ code: 'METADATA_UNAVAILABLE' });
    expect(machine.fatal.splice(0)).toMatchObject([{ code: 'DISK_IO' }]);
  });
});

describe('snapshots', () => {
  test('the log is cut behind snapshots while commands go on', async () => {
    const node = await machine.boot({ maxBytes: 32 * mebibyte });
    await fill(node, 1);
    const topic = [...node.image.topics.keys()][0]!;
    // Refused, so that the state stays small while the log grows.
    const config = new Map([['retention.ms', 'x'.repeat(500_000)]]);
    for (let at = 0; at < 150; at++) await node.propose([{ kind: 'configureTopic', topic, changes: config }]);
    await accepted(node, createTopic('last'));
    expect((await machine.snapshots()).length).toBeGreaterThan(0);
    expect((await machine.logFiles()).length).toBeLessThanOrEqual(8);
    const { stateHash } = node;
    await node.stop();
    machine.store = new MemoryStateStore();
    expect((await machine.boot()).stateHash).toBe(stateHash);
  });

  test('storage 4.6: no space for a snapshot neither ends the process nor loses it for good', async () => {
    const node = await machine.boot({ maxBytes: 32 * mebibyte });
    await fill(node, 1);
    const topic = [...node.image.topics.keys()][0]!;
    machine.disk.fault = (op) =>
      op.path.includes('snapshots') && op.kind === 'pwrite' ? 'DISK_FULL' : undefined;
    const config = new Map([['retention.ms', 'x'.repeat(500_000)]]);
    for (let at = 0; at < 30; at++) await node.propose([{ kind: 'configureTopic', topic, changes: config }]);
    expect((await machine.snapshots()).filter((name) => name.endsWith('.snap'))).toEqual([]);
    machine.disk.fault = () => undefined;
    await machine.clock.advance(10_000);
    for (let turn = 0; turn < 50; turn++) await settle();
    expect((await machine.snapshots()).filter((name) => name.endsWith('.snap')).length).toBe(1);
  });
});

describe('the applied store', () => {
  async function entries(store: MemoryStateStore): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    for await (const [key, value] of store.entries()) found.set(key, Buffer.from(value).toString('hex'));
    return found;
  }

  test.each([
    ['a key is gone', (store: MemoryStateStore, key: string) => store.write([{ key, value: null }])],
    [
      'a value changed',
      (store: MemoryStateStore, key: string) => store.write([{ key, value: Buffer.from('01', 'hex') }]),
    ],
    [
      'a key is too many',
      (store: MemoryStateStore) => store.write([{ key: 'topic/x', value: Buffer.from('0102', 'hex') }]),
    ],
    [
      'what it says of itself is damaged',
      (store: MemoryStateStore) => store.write([{ key: 'applied', value: Buffer.alloc(3) }]),
    ],
  ])('storage 2.6: dropped and rebuilt when %s', async (_name, damage) => {
    const node = await machine.boot();
    await fill(node);
    const { stateHash } = node;
    await node.stop();
    await machine.store.open();
    const whole = await entries(machine.store);
    await damage(machine.store, [...whole.keys()].find((key) => key.startsWith('shard/'))!);
    const again = await machine.boot();
    expect(again.stateHash).toBe(stateHash);
    await again.stop();
    await machine.store.open();
    expect(await entries(machine.store)).toEqual(whole);
  });

  test('storage 2.6: rebuilt when it cannot be opened or read', async () => {
    const node = await machine.boot();
    await fill(node);
    const { stateHash } = node;
    await node.stop();
    class Broken extends MemoryStateStore {
      broken = true;
      override async open(): Promise<void> {
        if (this.broken) throw new RobustError('STORE_CORRUPT', 'cannot be opened');
        return super.open();
      }
      override async clear(): Promise<void> {
        this.broken = false;
        return super.clear();
      }
    }
    machine.store = new Broken();
    const again = await machine.boot();
    expect(again.stateHash).toBe(stateHash);
    await again.stop();
    await machine.store.open();
    expect((await entries(machine.store)).size).toBeGreaterThan(10);
  });

  test('storage 4.6: a full store pauses, commits go on, and it is rebuilt later', async () => {
    let full = false;
    class Filling extends MemoryStateStore {
      override async write(changes: readonly StateChange[]): Promise<void> {
        if (full) throw new RobustError('DISK_FULL', 'no space');
        return super.write(changes);
      }
    }
    machine.store = new Filling();
    const node = await machine.boot();
    await fill(node, 2);
    await settle();
    full = true;
    await fill(node, 3);
    full = false;
    await machine.clock.advance(10_000);
    for (let turn = 0; turn < 20; turn++) await settle();
    await fill(node, 1);
    const { stateHash } = node;
    await node.stop();
    await machine.store.open();
    const applied = (await entries(machine.store)).get('applied')!;
    expect(Buffer.from(applied, 'hex').toString('latin1')).toContain(stateHash);
  });

  test('a store that lags behind is brought up from the log', async () => {
    const node = await machine.boot();
    await fill(node, 2);
    await node.stop();
    await machine.store.open();
    const old = new MemoryStateStore();
    await old.open();
    for await (const [key, value] of machine.store.entries()) await old.write([{ key, value }]);
    await fill(await machine.boot(), 3);
    const { stateHash } = machine.node!;
    await machine.node!.stop();
    machine.store = old;
    expect((await machine.boot()).stateHash).toBe(stateHash);
  });
});

describe('storage 2.6: a store that a start did not get through', () => {
  const marker = 'state.reading';

  /** A store whose library ends the process when it is opened, until it is cleared. */
  class Deadly extends MemoryStateStore {
    opened = 0;
    cleared = false;
    onOpen: () => Promise<void> = async () => undefined;
    override async open(): Promise<void> {
      this.opened++;
      if (!this.cleared) await this.onOpen();
      return super.open();
    }
    override async clear(): Promise<void> {
      this.cleared = true;
      return super.clear();
    }
  }

  let store: Deadly;
  let warnings: string[];

  beforeEach(() => {
    store = new Deadly();
    machine.store = store;
    warnings = [];
  });

  function boot(): Promise<LocalMetadata> {
    const logger: Logger = { ...loggerInto(machine.errors), warn: (_fields, text) => warnings.push(text) };
    return machine.boot({ logger });
  }

  async function isMarked(): Promise<boolean> {
    return (await machine.disk.list('data/meta')).some(({ name }) => name === marker);
  }

  async function mark(): Promise<void> {
    await (await machine.disk.open('level', `data/meta/${marker}`, { create: true })).close();
  }

  /** Runs until the disk of a process that was ended has a successor. */
  async function endInOpen(): Promise<void> {
    let survivor: SimDisk | null = null;
    store.onOpen = () => {
      survivor = machine.disk.kill();
      return new Promise(() => undefined);
    };
    store.cleared = false;
    void boot();
    while (survivor === null) await settle();
    machine.disk = survivor;
    machine.node = null;
    store.opened = 0;
  }

  test('is marked from before it is opened until it is verified', async () => {
    let whileOpened: boolean | null = null;
    store.onOpen = async () => void (whileOpened = await isMarked());
    await boot();
    expect([whileOpened, await isMarked()]).toEqual([true, false]);
    await fill(machine.node!, 1);
    await machine.node!.stop();
    expect(await isMarked()).toBe(false);
    expect([...warnings, ...machine.errors]).toEqual([]);
  });

  test('is dropped unread and built again when the process ended there', async () => {
    await fill(await boot());
    const { stateHash } = machine.node!;
    await machine.node!.stop();
    await endInOpen();
    expect(await isMarked()).toBe(true);
    const again = await boot();
    expect(again.stateHash).toBe(stateHash);
    expect(warnings).toEqual([
      'the last start did not get through the applied metadata, which is built again',
    ]);
    await again.stop();
    expect([store.opened, store.cleared, await isMarked()]).toEqual([0, true, false]);
    // It holds everything again: a start without log and snapshots finds it, and misses them.
    for (const path of [...(await machine.logFiles()), ...(await machine.snapshots())])
      await machine.disk.unlink(path);
    await expect(boot()).rejects.toMatchObject({ code: 'META_LOG_LOST' });
  });

  test('stays marked until it is cleared, so that no start reads it twice', async () => {
    await fill(await boot());
    await machine.node!.stop();
    await endInOpen();
    store.clear = () => new Promise(() => undefined);
    void boot();
    for (let turn = 0; turn < 50; turn++) await settle();
    expect([store.opened, await isMarked()]).toEqual([0, true]);
    machine.node = null;
  });

  test('is read nevertheless when log and snapshots do not hold all of it', async () => {
    await fill(await boot(), 8);
    const { stateHash } = machine.node!;
    await machine.node!.stop();
    const [first] = await machine.logFiles();
    machine.disk.rot(first!, (4 * 4096 + 150) * 8);
    await mark();
    const again = await boot();
    expect(again.stateHash).toBe(stateHash);
    expect(store.opened).toBe(2);
    expect(machine.errors).toEqual([
      expect.stringMatching(/did not get through .*read again.*remove the folder `state`/),
      'damaged metadata log, made good from its copy',
    ]);
    expect(await isMarked()).toBe(false);
  });

  test('is read nevertheless when log and snapshots are gone, which it alone can tell', async () => {
    await fill(await boot());
    await machine.node!.stop();
    for (const path of await machine.logFiles()) await machine.disk.unlink(path);
    await mark();
    await expect(boot()).rejects.toMatchObject({ code: 'META_LOG_LOST' });
  });

  test('is no hindrance in a new folder', async () => {
    await machine.disk.mkdir('data/meta');
    await mark();
    await fill(await boot());
    expect(await isMarked()).toBe(false);
  });
});

describe('rot', () => {
  /** A log in which a frame in the middle of the first file is damaged. */
  async function damaged(): Promise<{ stateHash: string; revision: number }> {
    const node = await machine.boot();
    await fill(node, 8);
    const { stateHash } = node;
    const { revision } = node.image;
    await node.stop();
    machine.node = null;
    // Pages: the checkpoint, the node, then a topic each; the damage is in the third topic, index 5.
    const [first] = await machine.logFiles();
    machine.disk.rot(first!, (4 * 4096 + 150) * 8);
    return { stateHash, revision };
  }

  test('storage 2.6: a store beyond the damage becomes the snapshot and the damage is reported', async () => {
    const { stateHash } = await damaged();
    const node = await machine.boot();
    expect(node.stateHash).toBe(stateHash);
    expect(machine.errors).toEqual(['damaged metadata log, made good from its copy']);
    expect(await machine.snapshots()).toHaveLength(1);
    machine.store = new MemoryStateStore();
    const again = await machine.reboot();
    expect(again.stateHash).toBe(stateHash);
    expect(machine.errors).toHaveLength(1);
  });

  test('storage 2.6: a snapshot beyond the damage makes it harmless', async () => {
    const node = await machine.boot();
    await fill(node, 8);
    const { stateHash } = node;
    await node.stop();
    machine.node = null;
    // The process dies when the snapshot is written and before the log says so.
    const [first] = await machine.logFiles();
    let survivor: SimDisk | null = null;
    const dying = machine.disk;
    dying.fault = (op) => {
      const afterSnapshot = op.kind === 'pwrite' && op.io === 'wal';
      if (afterSnapshot) survivor = dying.crash();
      return undefined;
    };
    void machine.boot();
    while (survivor === null) await settle();
    machine.disk = survivor;
    machine.disk.rot(first!, (4 * 4096 + 150) * 8);
    machine.store = new MemoryStateStore();
    const again = await machine.boot();
    expect(again.stateHash).toBe(stateHash);
    expect(machine.errors).toEqual(['damaged metadata log, made good from its copy']);
  });

  test('storage 2.6: without a copy the start is refused with file, position and what to do', async () => {
    await damaged();
    machine.store = new MemoryStateStore();
    const refused = machine.boot();
    await expect(refused).rejects.toMatchObject({
      code: 'META_LOG_LOST',
      message: expect.stringMatching(/0001\.wal, position 16384.*robustmq meta accept-loss/),
      detail: { kept: 4 },
    });
    // Refusing changed nothing: a second try says the same.
    await expect(machine.boot()).rejects.toMatchObject({ code: 'META_LOG_LOST' });
  });

  test('storage 2.6: an accepted loss starts with what precedes it and gives no id or epoch twice', async () => {
    const { revision } = await damaged();
    machine.store = new MemoryStateStore();
    const node = await machine.boot({ acceptLoss: true });
    expect(node.image.revision).toBe(revision);
    expect([...node.image.topics.values()].map((topic) => topic.name)).toEqual(['topic-0', 'topic-1']);
    const shard = [...node.image.shards.values()][0]!;
    expect(shard.ownerEpoch).toBeGreaterThan(1);
    const [made, ids, rolled] = await accepted(
      node,
      createTopic('new'),
      { kind: 'allocateProducerIds' },
      roll({ ...shard, nextSegmentSeq: 0, nextBase: 0 }, null),
    );
    expect(made!.topic!.shards[0]).toBeGreaterThan(16);
    expect(ids!.firstId).toBeGreaterThan(1000);
    expect(rolled!.shard!.segments[0]!.id).toBeGreaterThan(10_000);
    const { stateHash } = node;
    expect((await machine.reboot()).stateHash).toBe(stateHash);
  });

  test('storage 2.6: damage at the end of a file is seen by the head of the next', async () => {
    await fill(await machine.boot());
    // Without space for a snapshot the second start leaves the first file needed, and adds only a head.
    machine.disk.fault = (op) =>
      op.path.includes('snapshots') && op.kind === 'pwrite' ? 'DISK_FULL' : undefined;
    const { revision } = (await machine.reboot()).image;
    await machine.node!.stop();
    machine.node = null;
    const [first] = await machine.logFiles();
    machine.disk.rot(first!, (6 * 4096 + 150) * 8);
    machine.store = new MemoryStateStore();
    await expect(machine.boot()).rejects.toMatchObject({
      code: 'META_LOG_LOST',
      detail: { kept: revision - 1 },
    });
  });

  test('storage 2.6: a log that is gone is missed', async () => {
    await fill(await machine.boot());
    const { stateHash, image } = machine.node!;
    const { revision } = image;
    await machine.node!.stop();
    for (const file of await machine.logFiles()) await machine.disk.unlink(file);
    await expect(machine.boot()).rejects.toMatchObject({ code: 'META_LOG_LOST' });
    const node = await machine.boot({ acceptLoss: true });
    expect(node.image.topics.size).toBe(5);
    expect(node.stateHash).not.toBe(stateHash);
    expect(node.image.revision).toBeGreaterThan(revision);
  });

  test('storage 2.6: a log that lost its tail is behind its store, which is kept', async () => {
    const node = await machine.boot();
    await fill(node, 3);
    const [first] = await machine.logFiles();
    const whole = machine.disk.peek(first!);
    await fill(node, 3);
    const { stateHash } = node;
    await node.stop();
    machine.disk.poke(first!, 0, whole);
    const again = await machine.boot();
    expect(again.stateHash).toBe(stateHash);
    expect(machine.errors).toEqual(['the metadata log lost its tail, made good from its copy']);
    await fill(again, 1);
    machine.store = new MemoryStateStore();
    const hash = again.stateHash;
    expect((await machine.reboot()).stateHash).toBe(hash);
  });

  test('a damaged snapshot is passed over for the store, and replaced', async () => {
    await fill(await machine.boot());
    await machine.reboot();
    const { stateHash } = machine.node!;
    await machine.node!.stop();
    const [snapshot] = await machine.snapshots();
    machine.disk.rot(snapshot!);
    expect((await machine.boot()).stateHash).toBe(stateHash);
    expect(machine.errors).toEqual(['a metadata snapshot is damaged']);
    machine.store = new MemoryStateStore();
    expect((await machine.reboot()).stateHash).toBe(stateHash);
  });

  test('storage 2.6: a damaged snapshot and no store is a loss', async () => {
    await fill(await machine.boot());
    await machine.reboot();
    await machine.node!.stop();
    machine.node = null;
    const [snapshot] = await machine.snapshots();
    machine.disk.rot(snapshot!);
    machine.store = new MemoryStateStore();
    await expect(machine.boot()).rejects.toMatchObject({ code: 'META_LOG_LOST' });
  });

  test('any single flipped bit in a snapshot is noticed', async () => {
    await fill(await machine.boot());
    await machine.reboot();
    await machine.node!.stop();
    machine.node = null;
    const [snapshot] = await machine.snapshots();
    const whole = machine.disk.peek(snapshot!);
    for (let at = 0; at < whole.length * 8; at += 37) {
      machine.disk.poke(snapshot!, 0, whole);
      machine.disk.rot(snapshot!, at);
      const node = await machine.boot();
      await node.stop();
      expect(machine.errors.length).toBe(1);
      machine.errors.length = 0;
      for (const path of await machine.snapshots()) if (path !== snapshot) await machine.disk.unlink(path);
    }
    machine.errors.length = 0;
  });
});

describe('power cuts', () => {
  test('regression: a start relied on a snapshot whose name a killed process had not made durable', async () => {
    const node = await machine.boot();
    await fill(node);
    const { stateHash } = node;
    await node.stop();
    machine.node = null;
    // Killed between the rename of the snapshot and the sync of its folder, started again, and then the power fails.
    let survivor: SimDisk | null = null;
    const { disk } = machine;
    let renamed = false;
    disk.fault = (op) => {
      if (renamed && op.kind === 'syncDir') survivor ??= disk.kill();
      renamed ||= op.kind === 'rename' && op.path.endsWith('.snap.tmp');
      return undefined;
    };
    void machine.boot();
    while (survivor === null) await settle();
    machine.disk = survivor;
    await (await machine.boot()).stop();
    machine.node = null;
    machine.disk = machine.disk.crash();
    machine.store = new MemoryStateStore();
    expect((await machine.boot()).stateHash).toBe(stateHash);
  });

  test.each([1, 2, 3, 4, 5, 6])('a snapshot that the log relies on is durable (seed %d)', async (seed) => {
    machine.disk = new SimDisk({ seed });
    await fill(await machine.boot());
    const { stateHash } = await machine.reboot();
    machine.disk = machine.disk.crash();
    machine.store = new MemoryStateStore();
    expect((await machine.boot()).stateHash).toBe(stateHash);
  });

  const dice: fc.Arbitrary<Dice> = fc.tuple(
    fc.nat(diceKinds),
    ...Array.from({ length: 5 }, () => fc.nat(999)),
  ) as never;
  const life = fc.record({
    throws: fc.array(dice, { minLength: 1, maxLength: 40, size: 'max' }),
    cutAfterOps: fc.integer({ min: 1, max: 60 }),
    cut: fc.constantFrom<'power' | 'process'>('power', 'process'),
    store: fc.constantFrom<'kept' | 'gone'>('kept', 'gone'),
  });

  /** The state after exactly the first `index` of the commands. */
  function stateAt(commands: readonly MetadataCommand[], index: number): MetadataState {
    const state = new MetadataState(stateOptions);
    for (const command of commands.slice(0, index)) state.apply(state.index + 1, command);
    return state;
  }

  test('after any cut the state is that of a prefix which holds every acknowledged command', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(life, { minLength: 1, maxLength: 4 }), fc.nat(), async (lives, seed) => {
        const own = new Machine();
        own.disk = new SimDisk({ seed });
        const history: MetadataCommand[] = [];
        let acknowledged = 0;
        for (const { throws, cutAfterOps, cut, store } of lives) {
          let survivor: SimDisk | null = null;
          const { disk } = own;
          const cutAt = disk.ops + cutAfterOps;
          disk.fault = (op) => {
            if (survivor === null && op.number >= cutAt)
              survivor = cut === 'power' ? disk.crash() : disk.kill();
            return undefined;
          };
          const proposed: MetadataCommand[] = [];
          let base = 0;
          void (async () => {
            const node = await own.boot();
            base = node.image.revision;
            expect(base).toBeGreaterThanOrEqual(acknowledged);
            expect(node.stateHash).toBe(stateAt(history, base).hash);
            history.length = base;
            const state = stateAt(history, base);
            for (const dices of throws) {
              const command =
                base === 0 && proposed.length < 2
                  ? firstCommands[proposed.length]!
                  : commandFrom(state, dices);
              proposed.push(command);
              history.push(command);
              state.apply(state.index + 1, command);
              const results = await node.propose([command]);
              expect(results).toHaveLength(1);
              acknowledged = node.image.revision;
            }
            survivor ??= disk.kill();
          })().catch((error: unknown) => {
            own.fatal.push(error);
            survivor ??= disk.kill();
          });
          while (survivor === null) await settle();
          for (let turn = 0; turn < 5; turn++) await settle();
          expect(own.fatal).toEqual([]);
          own.disk = survivor;
          if (store === 'gone') own.store = new MemoryStateStore();
        }
        const last = await own.boot();
        expect(last.image.revision).toBeGreaterThanOrEqual(acknowledged);
        expect(last.stateHash).toBe(stateAt(history, last.image.revision).hash);
        expect(own.errors).toEqual([]);
        await last.stop();
      }),
      { numRuns: 40 },
    );
  });

  const firstCommands = [registerJournal(), startBroker()];
});
