import { errorCodes, errorName } from '@robustmq/kafka-codec';
import type { ErrorNumber } from '@robustmq/kafka-codec';
import { beforeEach, describe, expect, it } from 'vitest';
import { defaultGroupLimits, Group } from './group.ts';
import type { JoinRequest } from './group.ts';
import type { Member } from './member.ts';

const none = errorCodes.NONE;

/** Drives a group by hand: time is a number, stores end when told, and what members are answered becomes lines. */
class Game {
  lines: string[] = [];
  now = 0;
  group: Group;
  /** Stores that have not ended. */
  stores: ((error: ErrorNumber) => void)[] = [];
  storeAtOnce = true;
  #ids = 0;

  constructor(initialDelayMs = 0) {
    this.group = new Group(
      'g',
      { ...defaultGroupLimits, initialDelayMs, membersMax: 4 },
      {
        newMemberId: (prefix) => `${prefix}-${++this.#ids}`,
        store: (stored) => {
          if (this.storeAtOnce) stored(none);
          else this.stores.push(stored);
        },
      },
    );
  }

  join(name: string, options: Partial<JoinRequest> = {}): void {
    const request: JoinRequest = {
      memberId: '',
      instanceId: null,
      clientId: name,
      clientHost: '',
      sessionTimeoutMs: 10_000,
      rebalanceTimeoutMs: 60_000,
      protocolType: 'consumer',
      protocols: [{ name: 'range', metadata: Buffer.from(name) }],
      idRequired: false,
      canSkipAssignment: true,
      ...options,
    };
    this.group.join(request, this.now, (answer) => {
      const members = answer.members.map(({ memberId }) => memberId).join(' ');
      const lead = members === '' ? '' : ` leads ${members}`;
      const skip = answer.skipAssignment ? ' skip' : '';
      const error =
        answer.errorCode === none ? ` generation ${answer.generation} ${answer.protocolName}` : '';
      this.lines.push(`join ${answer.memberId} ${errorName(answer.errorCode)}${error}${lead}${skip}`);
    });
  }

  sync(memberId: string, assignments: Record<string, string> = {}, generation = this.group.generation): void {
    const request = { memberId, instanceId: null, generation, protocolType: null, protocolName: null };
    const parts = Object.entries(assignments);
    const given = parts.map(([id, part]) => ({ memberId: id, assignment: Buffer.from(part) }));
    this.group.sync({ ...request, assignments: given }, this.now, (answer) =>
      this.lines.push(`sync ${memberId} ${errorName(answer.errorCode)} [${answer.assignment}]`),
    );
  }

  beat(memberId: string, generation = this.group.generation, instanceId: string | null = null): string {
    return errorName(this.group.heartbeat({ memberId, instanceId }, generation, this.now));
  }

  leave(memberId: string, instanceId: string | null = null): string {
    return errorName(this.group.leave({ memberId, instanceId }, this.now));
  }

  commit(memberId: string, generation = this.group.generation): string {
    return errorName(this.group.commitError({ memberId, instanceId: null }, generation, this.now));
  }

  pass(ms: number): void {
    this.now += ms;
    this.group.tick(this.now);
  }

  /** The lines since the last call, and the state. */
  get seen(): string[] {
    const lines = [...this.lines, this.group.state];
    this.lines = [];
    return lines;
  }
}

/** A stable group of a-1 and b-2. */
function pair(): Game {
  const game = new Game();
  game.join('a');
  game.join('b');
  game.join('a', { memberId: 'a-1' });
  game.sync('a-1', { 'a-1': 'p0', 'b-2': 'p1' });
  game.sync('b-2');
  void game.seen;
  return game;
}

let game: Game;

describe('a group', () => {
  beforeEach(() => {
    game = new Game();
  });

  it('gathers, assigns and works', () => {
    game.join('a');
    expect(game.seen).toEqual(['join a-1 NONE generation 1 range leads a-1', 'CompletingRebalance']);
    game.join('b');
    expect(game.seen).toEqual(['PreparingRebalance']);
    expect(game.beat('a-1')).toBe('REBALANCE_IN_PROGRESS');
    game.join('a', { memberId: 'a-1' });
    expect(game.seen).toEqual([
      'join a-1 NONE generation 2 range leads a-1 b-2',
      'join b-2 NONE generation 2 range',
      'CompletingRebalance',
    ]);
    expect(game.beat('b-2')).toBe('NONE');
    game.sync('b-2');
    expect(game.seen).toEqual(['CompletingRebalance']);
    game.sync('a-1', { 'a-1': 'p0', 'b-2': 'p1', stranger: 'p2' });
    expect(game.seen.sort()).toEqual(['Stable', 'sync a-1 NONE [p0]', 'sync b-2 NONE [p1]']);
    game.sync('b-2');
    expect(game.seen).toEqual(['sync b-2 NONE [p1]', 'Stable']);
  });

  it('tells a member its id first, and forgets one that does not come back', () => {
    game.join('a', { idRequired: true });
    expect(game.seen).toEqual(['join a-1 MEMBER_ID_REQUIRED', 'Empty']);
    game.join('a', { memberId: 'a-1', idRequired: true });
    expect(game.seen).toEqual(['join a-1 NONE generation 1 range leads a-1', 'CompletingRebalance']);
    game.join('b', { idRequired: true });
    game.pass(10_000);
    game.lines = [];
    game.join('b', { memberId: 'b-2', idRequired: true });
    expect(game.seen[0]).toBe('join b-2 UNKNOWN_MEMBER_ID');
  });

  it('waits for an id it gave out before a rebalance ends', () => {
    game.join('a');
    game.join('b', { idRequired: true });
    void game.seen;
    game.join('c');
    game.join('a', { memberId: 'a-1' });
    expect(game.seen).toEqual(['PreparingRebalance']);
    game.join('b', { memberId: 'b-2', idRequired: true });
    expect(game.seen.at(-1)).toBe('CompletingRebalance');
    expect(game.group.members.size).toBe(3);
  });

  it('refuses a session timeout out of bounds, no protocol, one that not all support, and too many members', () => {
    game.join('a', { sessionTimeoutMs: 5_999 });
    game.join('a', { sessionTimeoutMs: 30 * 60_000 + 1 });
    game.join('a', { protocols: [] });
    game.join('a', { memberId: 'unknown' });
    expect(game.seen).toEqual([
      'join  INVALID_SESSION_TIMEOUT',
      'join  INVALID_SESSION_TIMEOUT',
      'join  INCONSISTENT_GROUP_PROTOCOL',
      'join unknown UNKNOWN_MEMBER_ID',
      'Empty',
    ]);
    for (const name of ['a', 'b', 'c', 'd']) game.join(name);
    void game.seen;
    game.join('e', { protocols: [{ name: 'other', metadata: Buffer.alloc(0) }] });
    game.join('e');
    expect(game.seen.slice(0, 1)).toEqual(['join  GROUP_MAX_SIZE_REACHED']);
    const two = new Game();
    two.join('a');
    void two.seen;
    two.join('b', { protocols: [{ name: 'other', metadata: Buffer.alloc(0) }] });
    two.join('b', { protocolType: 'connect' });
    expect(two.seen).toEqual([
      'join  INCONSISTENT_GROUP_PROTOCOL',
      'join  INCONSISTENT_GROUP_PROTOCOL',
      'CompletingRebalance',
    ]);
  });

  it('elects the protocol that most members prefer among those all support', () => {
    const protocols = (...names: string[]) => names.map((name) => ({ name, metadata: Buffer.alloc(0) }));
    const delayed = new Game(100);
    delayed.join('a', { protocols: protocols('range', 'sticky', 'own') });
    delayed.join('b', { protocols: protocols('sticky', 'range') });
    delayed.join('c', { protocols: protocols('sticky', 'range') });
    delayed.pass(100);
    expect(delayed.seen[0]).toContain('sticky');
  });
});

describe('the first rebalance', () => {
  it('waits the initial delay, again for each newcomer, and no longer than the rebalance timeout', () => {
    game = new Game(500);
    game.join('a', { rebalanceTimeoutMs: 900 });
    game.pass(400);
    game.join('b', { rebalanceTimeoutMs: 900 });
    game.pass(400);
    expect(game.seen).toEqual(['PreparingRebalance']);
    expect(game.group.nextDeadline()).toBe(900);
    game.pass(100);
    expect(game.seen.at(-1)).toBe('CompletingRebalance');
    expect(game.group.generation).toBe(1);
  });
});

describe('a rebalance', () => {
  beforeEach(() => {
    game = pair();
  });

  it('starts when the leader joins again or a member changes, not when a follower repeats itself', () => {
    game.join('b', { memberId: 'b-2' });
    expect(game.seen).toEqual(['join b-2 NONE generation 2 range', 'Stable']);
    game.join('b', { memberId: 'b-2', protocols: [{ name: 'range', metadata: Buffer.from('new') }] });
    expect(game.seen).toEqual(['PreparingRebalance']);
    const other = pair();
    other.join('a', { memberId: 'a-1' });
    expect(other.seen).toEqual(['PreparingRebalance']);
  });

  it('drops who does not come back within the rebalance timeout', () => {
    game.join('a', { memberId: 'a-1', sessionTimeoutMs: 30_000, rebalanceTimeoutMs: 5_000 });
    expect(game.group.nextDeadline()).toBeLessThanOrEqual(60_000);
    game.pass(9_000);
    expect(game.beat('b-2')).toBe('REBALANCE_IN_PROGRESS');
    for (let beats = 0; beats < 6; beats++) {
      game.pass(9_000);
      game.beat('b-2');
    }
    expect(game.seen).toEqual(['join a-1 NONE generation 3 range leads a-1', 'CompletingRebalance']);
    expect(game.beat('b-2')).toBe('UNKNOWN_MEMBER_ID');
  });

  it('drops who does not ask for its part in time', () => {
    game.join('a', { memberId: 'a-1', sessionTimeoutMs: 100_000 });
    game.join('b', { memberId: 'b-2', sessionTimeoutMs: 100_000 });
    void game.seen;
    game.sync('b-2');
    game.pass(60_000);
    expect(game.seen).toEqual(['sync b-2 REBALANCE_IN_PROGRESS []', 'PreparingRebalance']);
    game.join('b', { memberId: 'b-2' });
    expect(game.seen).toEqual(['join b-2 NONE generation 4 range leads b-2', 'CompletingRebalance']);
  });

  it('answers a member that waits for its part when the group gathers again', () => {
    game.join('a', { memberId: 'a-1' });
    game.join('b', { memberId: 'b-2' });
    game.sync('b-2');
    void game.seen;
    game.join('c');
    expect(game.seen).toEqual(['sync b-2 REBALANCE_IN_PROGRESS []', 'PreparingRebalance']);
  });

  it('kafka defect 10: a member that leaves causes one rebalance', () => {
    expect(game.leave('b-2')).toBe('NONE');
    expect(game.leave('b-2')).toBe('UNKNOWN_MEMBER_ID');
    expect(game.seen).toEqual(['PreparingRebalance']);
    game.join('a', { memberId: 'a-1' });
    game.sync('a-1', { 'a-1': 'all' });
    expect(game.seen).toEqual([
      'join a-1 NONE generation 3 range leads a-1',
      'sync a-1 NONE [all]',
      'Stable',
    ]);
    game.pass(9_000);
    expect(game.group.generation).toBe(3);
  });

  it('kafka defect 11: members outlive overlapping rebalances', () => {
    game.join('c');
    game.join('a', { memberId: 'a-1' });
    game.join('d');
    game.join('b', { memberId: 'b-2' });
    expect(game.group.state).toBe('CompletingRebalance');
    game.sync('a-1', {});
    game.sync('c-3');
    game.join('e', { instanceId: null });
    expect([...game.group.members.keys()]).toEqual(['a-1', 'b-2', 'c-3', 'd-4']);
    game.join('b', { memberId: 'b-2', protocols: [{ name: 'range', metadata: Buffer.from('more') }] });
    for (const name of ['a-1', 'b-2', 'c-3', 'd-4']) game.join(name[0]!, { memberId: name });
    for (const name of ['b-2', 'c-3', 'd-4', 'a-1']) game.sync(name, {});
    for (const name of ['a-1', 'b-2', 'c-3', 'd-4']) expect(game.beat(name)).toBe('NONE');
    expect(game.group.state).toBe('Stable');
  });

  it('ends a session without heartbeats, and empties the group in the end', () => {
    game.pass(6_000);
    game.beat('a-1');
    game.pass(6_000);
    expect(game.group.state).toBe('PreparingRebalance');
    expect([...game.group.members.keys()]).toEqual(['a-1']);
    game.pass(6_000);
    expect(game.seen).toEqual(['Empty']);
    expect(game.group.generation).toBe(3);
    expect(game.group.nextDeadline()).toBe(Infinity);
  });
});

describe('storing a generation', () => {
  beforeEach(() => {
    game = new Game();
    game.join('a');
    game.storeAtOnce = false;
    void game.seen;
    game.sync('a-1', { 'a-1': 'p0' });
  });

  it('comes before its members learn of it', () => {
    expect(game.seen).toEqual(['CompletingRebalance']);
    game.stores[0]!(none);
    expect(game.seen).toEqual(['sync a-1 NONE [p0]', 'Stable']);
  });

  it('fails: the members are told, and the leader may try again', () => {
    game.stores[0]!(errorCodes.COORDINATOR_NOT_AVAILABLE);
    expect(game.seen).toEqual(['sync a-1 COORDINATOR_NOT_AVAILABLE []', 'CompletingRebalance']);
    game.sync('a-1', { 'a-1': 'again' });
    game.stores[1]!(none);
    expect(game.seen).toEqual(['sync a-1 NONE [again]', 'Stable']);
  });

  it('ends after the group began to gather again: nothing happens', () => {
    game.join('b');
    void game.seen;
    game.stores[0]!(none);
    expect(game.seen).toEqual(['PreparingRebalance']);
  });
});

describe('a static member', () => {
  beforeEach(() => {
    game = new Game();
    game.join('a', { instanceId: 'i' });
    game.sync('i-1', { 'i-1': 'p0' });
    void game.seen;
  });

  it('takes its place over without a rebalance, and its former self is fenced', () => {
    game.join('a', { instanceId: 'i' });
    expect(game.seen).toEqual(['join i-2 NONE generation 1 range leads i-2 skip', 'Stable']);
    expect(game.beat('i-1', 1, 'i')).toBe('FENCED_INSTANCE_ID');
    game.sync('i-2');
    expect(game.seen).toEqual(['sync i-2 NONE [p0]', 'Stable']);
  });

  it('is told of another leader when it cannot skip the assignment', () => {
    game.join('a', { instanceId: 'i', canSkipAssignment: false });
    expect(game.seen).toEqual(['join i-2 NONE generation 1 range', 'Stable']);
  });

  it('causes a rebalance when it supports something else', () => {
    game.join('a', { instanceId: 'i', protocols: [{ name: 'sticky', metadata: Buffer.alloc(0) }] });
    expect(game.seen).toEqual(['join i-2 NONE generation 2 sticky leads i-2', 'CompletingRebalance']);
  });

  it('keeps its place through a rebalance that it misses, until its session ends', () => {
    game.join('b', { rebalanceTimeoutMs: 5_000, sessionTimeoutMs: 30_000 });
    game.group.members.get('i-1')!.rebalanceTimeoutMs = 5_000;
    game.pass(9_000);
    game.beat('i-1', 1, 'i');
    expect(game.group.members.has('i-1')).toBe(true);
    game.pass(51_000);
    expect(game.group.members.has('i-1')).toBe(false);
    expect(game.seen.at(-1)).toBe('CompletingRebalance');
  });

  it('is removed by its instance id alone', () => {
    expect(game.leave('', 'j')).toBe('UNKNOWN_MEMBER_ID');
    expect(game.leave('', 'i')).toBe('NONE');
    expect(game.seen).toEqual(['Empty']);
  });
});

describe('a commit', () => {
  it('needs the generation, and none only while the group is empty', () => {
    game = new Game();
    expect(game.commit('', -1)).toBe('NONE');
    game = pair();
    expect(game.commit('a-1')).toBe('NONE');
    expect(game.commit('a-1', 1)).toBe('ILLEGAL_GENERATION');
    expect(game.commit('x')).toBe('UNKNOWN_MEMBER_ID');
    expect(game.commit('', -1)).toBe('UNKNOWN_MEMBER_ID');
    game.join('a', { memberId: 'a-1' });
    expect(game.commit('b-2')).toBe('NONE');
    game.join('b', { memberId: 'b-2' });
    expect(game.commit('b-2')).toBe('REBALANCE_IN_PROGRESS');
  });
});

it('a restored group goes on: heartbeats count and sessions end', () => {
  game = new Game();
  const member: Member = {
    id: 'm',
    instanceId: null,
    clientId: 'c',
    clientHost: '',
    sessionTimeoutMs: 10_000,
    rebalanceTimeoutMs: 60_000,
    protocols: [{ name: 'range', metadata: Buffer.alloc(0) }],
    assignment: Buffer.from('p0'),
    expiresAt: 10_000,
    joining: null,
    syncing: null,
  };
  game.group.generation = 7;
  game.group.restore(member);
  expect(game.beat('m', 7)).toBe('NONE');
  game.sync('m', {}, 7);
  expect(game.seen).toEqual(['sync m NONE [p0]', 'Stable']);
  game.pass(10_000);
  expect(game.seen).toEqual(['Empty']);
});

it('everybody who waits is answered when the coordinator lets go', () => {
  game = pair();
  game.join('a', { memberId: 'a-1' });
  game.group.die(errorCodes.NOT_COORDINATOR);
  expect(game.seen).toEqual(['join a-1 NOT_COORDINATOR', 'Dead']);
});

it('regression: a member kept the chunk of memory that its request came in', () => {
  game = new Game();
  const request = Buffer.alloc(64 * 1024, 'x');
  game.join('a', { protocols: [{ name: 'range', metadata: request.subarray(10, 30) }] });
  const member = game.group.members.get('a-1')!;
  expect(member.protocols[0]!.metadata.buffer.byteLength).toBe(20);
  game.join('a', { memberId: 'a-1', protocols: [{ name: 'range', metadata: request.subarray(10, 40) }] });
  expect(member.protocols[0]!.metadata.buffer.byteLength).toBe(30);
  game.sync('a-1', { 'a-1': 'p0' });
  expect(member.assignment.buffer.byteLength).toBe(2);
});
