import { errorCodes, errorName } from '@robustmq/kafka-codec';
import type { ErrorNumber } from '@robustmq/kafka-codec';
import { describe, expect, it } from 'vitest';
import { defaultGroupLimits, Group } from './group.ts';
import type { JoinAnswer, SyncAnswer } from './member.ts';

const { NONE, REBALANCE_IN_PROGRESS } = errorCodes;
const sessionMs = 10_000;
const rebalanceMs = 30_000;
const beatMs = 3000;
const steps = 300;

/** A small generator with a seed, so that a failure repeats. */
function random(seed: number): (below: number) => number {
  let state = seed | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

type Phase = 'out' | 'joining' | 'joined' | 'syncing' | 'stable';

/** A consumer as the protocol wants it; `gone` says nothing any more, as a process that died. */
class Client {
  readonly name: string;
  readonly instanceId: string | null;
  phase: Phase = 'out';
  gone = false;
  memberId = '';
  generation = -1;
  assignment = '';
  /** Those that it has to assign to, if it leads. */
  followers: string[] | null = null;
  lastBeat = 0;

  constructor(name: string, instanceId: string | null) {
    this.name = name;
    this.instanceId = instanceId;
  }

  reset(): void {
    this.phase = 'out';
    this.memberId = '';
    this.generation = -1;
  }
}

/** Random consumers on one group, with a time and a store that are played as well. */
class Game {
  readonly next: (below: number) => number;
  readonly clients: Client[] = [];
  now = 0;
  #ids = 0;
  /** Open replies: each has to be called once, and never later. */
  #open = 0;
  #stores: {
    done: (error: ErrorNumber) => void;
    given: ReadonlyMap<string, Buffer> | null;
    generation: number;
  }[] = [];
  /** What was stored of a generation, the last that counts: nobody may be told anything else. */
  readonly stored = new Map<number, ReadonlyMap<string, Buffer>>();
  readonly group: Group;

  constructor(seed: number) {
    this.next = random(seed);
    const initialDelayMs = this.next(2) === 0 ? 0 : 500;
    this.group = new Group(
      'g',
      { ...defaultGroupLimits, initialDelayMs },
      {
        newMemberId: (prefix) => `${prefix}-${++this.#ids}`,
        store: (done, given) => void this.#stores.push({ done, given, generation: this.group.generation }),
      },
    );
    for (let index = 0; index < 6; index++) {
      this.clients.push(new Client(`c${index}`, index % 3 === 0 ? `static-${index}` : null));
    }
  }

  get open(): number {
    return this.#open;
  }

  once<Answer>(take: (answer: Answer) => void): (answer: Answer) => void {
    let called = false;
    this.#open++;
    return (answer) => {
      expect(called).toBe(false);
      called = true;
      this.#open--;
      take(answer);
    };
  }

  join(client: Client): void {
    client.phase = 'joining';
    const { memberId, instanceId, name } = client;
    // What an earlier life of this client is told does not reach it.
    const mine = this.once<JoinAnswer>((answer) => this.#joined(client, answer));
    this.group.join(
      {
        memberId,
        instanceId,
        clientId: name,
        clientHost: '',
        sessionTimeoutMs: sessionMs,
        rebalanceTimeoutMs: rebalanceMs,
        protocolType: 'consumer',
        protocols: [{ name: 'range', metadata: Buffer.from(name) }],
        idRequired: true,
        canSkipAssignment: true,
      },
      this.now,
      mine,
    );
  }

  #joined(client: Client, answer: JoinAnswer): void {
    if (client.gone || client.phase !== 'joining') return;
    client.phase = 'out';
    client.lastBeat = this.now;
    if (answer.errorCode === errorCodes.MEMBER_ID_REQUIRED) {
      client.memberId = answer.memberId;
      return;
    }
    if (answer.errorCode !== NONE) {
      if (answer.errorCode !== REBALANCE_IN_PROGRESS) client.reset();
      return;
    }
    client.memberId = answer.memberId;
    client.generation = answer.generation;
    client.phase = 'joined';
    const leads = answer.leader === answer.memberId && !answer.skipAssignment;
    client.followers = leads ? answer.members.map(({ memberId }) => memberId) : null;
  }

  sync(client: Client): void {
    client.phase = 'syncing';
    const { memberId, instanceId, generation, followers } = client;
    const nonce = this.next(1e9);
    const assignments = (followers ?? []).map((id) => ({
      memberId: id,
      assignment: Buffer.from(`${generation}/${nonce}/${id}`),
    }));
    const asked = {
      memberId,
      instanceId,
      generation,
      protocolType: 'consumer',
      protocolName: 'range',
      assignments,
    };
    const mine = this.once<SyncAnswer>((answer) => this.#synced(client, answer));
    this.group.sync(asked, this.now, mine);
  }

  #synced(client: Client, answer: SyncAnswer): void {
    if (client.gone || client.phase !== 'syncing') return;
    client.lastBeat = this.now;
    if (answer.errorCode === NONE) {
      client.phase = 'stable';
      client.assignment = answer.assignment.toString();
      this.#checkAssignment(client);
    } else if (answer.errorCode === REBALANCE_IN_PROGRESS) client.phase = 'out';
    else if (answer.errorCode === errorCodes.COORDINATOR_NOT_AVAILABLE) client.phase = 'joined';
    else client.reset();
  }

  /** A member is told what was stored for its generation before, under its id of now or of before. */
  #checkAssignment(client: Client): void {
    const stored = this.stored.get(client.generation);
    expect(stored).toBeDefined();
    if (client.instanceId !== null) {
      expect([...stored!.values()].map(String)).toContain(client.assignment);
    } else expect(client.assignment).toBe(String(stored!.get(client.memberId)));
  }

  beat(client: Client): void {
    const { memberId, instanceId, generation } = client;
    client.lastBeat = this.now;
    const error = this.group.heartbeat({ memberId, instanceId }, generation, this.now);
    if (error === NONE) return;
    if (error === REBALANCE_IN_PROGRESS) client.phase = 'out';
    else client.reset();
  }

  leave(client: Client): void {
    const { memberId, instanceId } = client;
    if (memberId !== '') this.group.leave({ memberId, instanceId }, this.now);
    client.reset();
  }

  /** The client's process dies; another takes its place. */
  crash(client: Client): void {
    client.gone = true;
    this.clients[this.clients.indexOf(client)] = new Client(client.name, client.instanceId);
  }

  endStore(fails: boolean): void {
    const store = this.#stores.shift();
    if (store === undefined) return;
    if (!fails && store.given !== null) this.stored.set(store.generation, store.given);
    store.done(fails ? errorCodes.COORDINATOR_NOT_AVAILABLE : NONE);
  }

  pass(ms: number): void {
    const until = this.now + ms;
    for (;;) {
      const due = this.group.nextDeadline();
      if (due > until) break;
      this.now = Math.max(this.now, due);
      this.group.tick(this.now);
    }
    this.now = until;
  }

  /** What the protocol has a client do next. */
  follow(client: Client): void {
    if (client.phase === 'out') this.join(client);
    else if (client.phase === 'joined') this.sync(client);
    else if (client.phase === 'stable') this.beat(client);
  }

  step(): void {
    const client = this.clients[this.next(this.clients.length)]!;
    const dice = this.next(100);
    if (dice < 60) this.follow(client);
    else if (dice < 66) this.leave(client);
    else if (dice < 70) this.crash(client);
    else if (dice < 85) this.endStore(this.next(10) === 0);
    else this.pass(this.next(dice < 98 ? 2000 : 20_000));
  }

  /** Everybody does what it should and nothing fails. */
  quiet(): void {
    for (let round = 0; round < 100; round++) {
      for (const client of this.clients)
        if (client.phase !== 'stable' || this.now - client.lastBeat >= beatMs) this.follow(client);
      this.endStore(false);
      this.pass(1000);
    }
  }
}

describe('consumers that come, go, die and stall, over stores that fail', () => {
  it.each(Array.from({ length: 150 }, (_, seed) => seed))('agree in the end, seed %i', (seed) => {
    const game = new Game(seed);
    for (let step = 0; step < steps; step++) game.step();
    game.quiet();
    const { group, clients } = game;
    expect(group.state).toBe('Stable');
    expect(clients.map(({ phase }) => phase)).toEqual(clients.map(() => 'stable'));
    expect(new Set(clients.map(({ generation }) => generation))).toEqual(new Set([group.generation]));
    expect([...group.members.keys()].sort()).toEqual(clients.map(({ memberId }) => memberId).sort());
    // Each of one assignment, and nobody waits any more.
    expect(new Set(clients.map(({ assignment }) => assignment.split('/').slice(0, 2).join('/'))).size).toBe(
      1,
    );
    expect(new Set(clients.map(({ assignment }) => assignment)).size).toBe(clients.length);
    expect(game.open).toBe(0);
    for (const client of clients) expect(errorName(group.speakerError(client))).toBe('NONE');
  });
});
