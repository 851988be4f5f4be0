import { ownCopy } from '@robustmq/core';
import { errorCodes } from '@robustmq/kafka-codec';
import type { ErrorNumber } from '@robustmq/kafka-codec';
import { isPlainName } from '../names.ts';
import { electProtocol, metadataBytes, metadataOf, ownProtocols, sameProtocols, supports } from './member.ts';
import type { JoinAnswer, JoinReply, Member, MemberProtocol, SyncAnswer, SyncReply } from './member.ts';

export type GroupState = 'Empty' | 'PreparingRebalance' | 'CompletingRebalance' | 'Stable' | 'Dead';

export interface GroupLimits {
  /** How long the first rebalance of an empty group waits for more members. */
  readonly initialDelayMs: number;
  readonly sessionTimeoutMinMs: number;
  readonly sessionTimeoutMaxMs: number;
  readonly membersMax: number;
  /** Members of all groups together. */
  readonly membersTotalMax: number;
  /** Groups, those that have offsets only included. */
  readonly groupsMax: number;
  /** Protocols of one member: each is compared with those of all others. */
  readonly protocolsMax: number;
  /** Bytes of what the members of a group say about themselves: all of it is one record of the log. */
  readonly metadataBytesMax: number;
  /** Names of groups, instances, protocols and their types, in UTF-16 units. Old versions have 16 bits for a length. */
  readonly nameMax: number;
}

export const defaultGroupLimits: GroupLimits = {
  initialDelayMs: 500,
  sessionTimeoutMinMs: 6_000,
  sessionTimeoutMaxMs: 30 * 60_000,
  membersMax: 10_000,
  membersTotalMax: 100_000,
  groupsMax: 100_000,
  protocolsMax: 100,
  metadataBytesMax: 1_500_000,
  nameMax: 1024,
};

export interface JoinRequest {
  readonly memberId: string;
  readonly instanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly protocolType: string;
  readonly protocols: readonly MemberProtocol[];
  /** A member without an id is told one and has to ask again with it (version 4 and later). */
  readonly idRequired: boolean;
  /** A static leader that returns can be told to leave the assignment alone (version 9 and later). */
  readonly canSkipAssignment: boolean;
}

export interface SyncRequest {
  readonly memberId: string;
  readonly instanceId: string | null;
  readonly generation: number;
  readonly protocolType: string | null;
  readonly protocolName: string | null;
  readonly assignments: readonly { memberId: string; assignment: Buffer }[];
}

/** Who speaks: a member under its id, or a static one under its instance id as well. */
export interface Speaker {
  readonly memberId: string;
  readonly instanceId: string | null;
}

export interface GroupHooks {
  /** A member id that nobody else has. */
  newMemberId(prefix: string): string;
  /**
   * Makes the group as it is durable: a stable generation with `assignments`, an empty group, or a static member's
   * new id. `stored` is called later, in the order of the calls.
   */
  store(stored: (error: ErrorNumber) => void, assignments: ReadonlyMap<string, Buffer> | null): void;
}

const noBytes = Buffer.alloc(0);

/**
 * A classic group: members gather (PreparingRebalance), the leader assigns (CompletingRebalance), all work (Stable).
 * Pure but for its hooks: time comes with every call, and `tick` ends what is overdue at `nextDeadline`.
 */
export class Group {
  readonly id: string;
  readonly members = new Map<string, Member>();
  state: GroupState = 'Empty';
  generation = 0;
  protocolType: string | null = null;
  protocolName: string | null = null;
  leader = '';
  readonly #limits: GroupLimits;
  readonly #hooks: GroupHooks;
  /** Member id by group instance id. */
  readonly #statics = new Map<string, string>();
  /** Ids that were handed out, with the time by which their owner has to join. */
  readonly #promised = new Map<string, number>();
  /** End of gathering, or of waiting for syncs; Infinity outside a rebalance. */
  #phaseEndsAt = Infinity;
  /** While an empty group waits for its first members: gathering goes on at most this long. */
  #initialUntil = 0;
  /** The leader's assignment is being stored. */
  #storing = false;

  constructor(id: string, limits: GroupLimits, hooks: GroupHooks) {
    this.id = id;
    this.#limits = limits;
    this.#hooks = hooks;
  }

  /** Nothing to remember: no member, nobody expected, no generation. */
  get blank(): boolean {
    return this.members.size === 0 && this.#promised.size === 0 && this.generation === 0;
  }

  /** Members, and those who were told an id and have yet to come. */
  get size(): number {
    return this.members.size + this.#promised.size;
  }

  /** Takes a member of a stored generation; its session begins anew. */
  restore(member: Member): void {
    this.members.set(member.id, member);
    if (member.instanceId !== null) this.#statics.set(member.instanceId, member.id);
    this.state = 'Stable';
  }

  join(request: JoinRequest, now: number, reply: JoinReply): void {
    const error = this.#joinError(request);
    if (error !== errorCodes.NONE) reply(this.#refusal(request.memberId, error));
    else if (request.memberId !== '') this.#joinKnown(request, now, reply);
    else if (request.instanceId !== null && this.#statics.has(request.instanceId)) {
      this.#replaceStatic(request, now, reply);
    } else if (request.idRequired && request.instanceId === null) this.#promise(request, now, reply);
    else this.#add(this.#hooks.newMemberId(request.instanceId ?? request.clientId), request, now, reply);
  }

  sync(request: SyncRequest, now: number, reply: SyncReply): void {
    const error = this.#syncError(request);
    const member = this.members.get(request.memberId);
    if (error !== errorCodes.NONE || member === undefined) {
      reply({ errorCode: error, protocolType: null, protocolName: null, assignment: noBytes });
      return;
    }
    member.expiresAt = now + member.sessionTimeoutMs;
    if (this.state === 'Stable') {
      reply(this.#synced(member));
      return;
    }
    member.syncing?.(syncRefusal(errorCodes.REBALANCE_IN_PROGRESS));
    member.syncing = reply;
    if (member.id === this.leader && !this.#storing) this.#assign(request, now);
  }

  heartbeat(speaker: Speaker, generation: number, now: number): ErrorNumber {
    const error = this.speakerError(speaker);
    if (error !== errorCodes.NONE) return error;
    if (generation !== this.generation) return errorCodes.ILLEGAL_GENERATION;
    this.#touch(speaker.memberId, now);
    return this.state === 'PreparingRebalance' ? errorCodes.REBALANCE_IN_PROGRESS : errorCodes.NONE;
  }

  /** An empty member id with an instance id removes whoever is that instance, as administrators do. */
  leave(speaker: Speaker, now: number): ErrorNumber {
    const { instanceId } = speaker;
    if (this.#promised.delete(speaker.memberId)) {
      this.#gatheredIfComplete(now);
      return errorCodes.NONE;
    }
    const named = instanceId !== null && speaker.memberId === '' ? this.#statics.get(instanceId) : undefined;
    const memberId = named ?? speaker.memberId;
    const error = this.speakerError({ memberId, instanceId });
    if (error !== errorCodes.NONE) return error;
    this.#remove(this.members.get(memberId)!, now);
    return errorCodes.NONE;
  }

  /** Whether an offset may be committed by this speaker; counts as a sign of life. */
  commitError(speaker: Speaker, generation: number, now: number): ErrorNumber {
    // Whoever commits to a group without members uses it as a place for offsets only.
    if (generation < 0 && this.members.size === 0) return errorCodes.NONE;
    const error = this.speakerError(speaker);
    if (error !== errorCodes.NONE) return error;
    if (generation !== this.generation) return errorCodes.ILLEGAL_GENERATION;
    if (this.state === 'CompletingRebalance') return errorCodes.REBALANCE_IN_PROGRESS;
    this.#touch(speaker.memberId, now);
    return errorCodes.NONE;
  }

  /** UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID when another took the instance id over, or NONE. */
  speakerError({ memberId, instanceId }: Speaker): ErrorNumber {
    if (instanceId !== null) {
      const current = this.#statics.get(instanceId);
      if (current === undefined) return errorCodes.UNKNOWN_MEMBER_ID;
      if (current !== memberId) return errorCodes.FENCED_INSTANCE_ID;
    }
    return this.members.has(memberId) ? errorCodes.NONE : errorCodes.UNKNOWN_MEMBER_ID;
  }

  /** When `tick` has something to do next; Infinity if never. */
  nextDeadline(): number {
    let next = this.#phaseEndsAt;
    for (const deadline of this.#promised.values()) next = Math.min(next, deadline);
    for (const member of this.members.values()) {
      if (member.joining === null && member.syncing === null) next = Math.min(next, member.expiresAt);
    }
    return next;
  }

  /** Ends the sessions and the phase that are overdue. */
  tick(now: number): void {
    let forgotten = false;
    for (const [id, deadline] of this.#promised) {
      if (deadline <= now) forgotten = this.#promised.delete(id);
    }
    if (forgotten) this.#gatheredIfComplete(now);
    for (const member of [...this.members.values()]) {
      const waits = member.joining !== null || member.syncing !== null;
      if (!waits && member.expiresAt <= now) this.#remove(member, now);
    }
    if (this.#phaseEndsAt > now) return;
    if (this.state === 'PreparingRebalance') this.#phaseOver(now);
    else if (this.state === 'CompletingRebalance') this.#dropUnsynced(now);
  }

  /** Answers everybody who waits; the group is gone. */
  die(error: ErrorNumber): void {
    this.state = 'Dead';
    this.#phaseEndsAt = Infinity;
    for (const member of this.members.values()) this.#answerWaiting(member, error);
    this.members.clear();
    this.#statics.clear();
    this.#promised.clear();
  }

  #joinError(request: JoinRequest): ErrorNumber {
    const { sessionTimeoutMs, protocols, protocolType, memberId, instanceId } = request;
    const { sessionTimeoutMinMs, sessionTimeoutMaxMs, membersMax, metadataBytesMax } = this.#limits;
    const { protocolsMax, nameMax } = this.#limits;
    if (sessionTimeoutMs < sessionTimeoutMinMs || sessionTimeoutMs > sessionTimeoutMaxMs) {
      return errorCodes.INVALID_SESSION_TIMEOUT;
    }
    if (instanceId !== null && !isPlainName(instanceId, nameMax)) return errorCodes.INVALID_REQUEST;
    const named = protocolType !== '' && isPlainName(protocolType, nameMax);
    if (!named || protocols.length === 0 || protocols.length > protocolsMax) {
      return errorCodes.INCONSISTENT_GROUP_PROTOCOL;
    }
    if (protocols.some(({ name }) => !isPlainName(name, nameMax))) {
      return errorCodes.INCONSISTENT_GROUP_PROTOCOL;
    }
    if (memberId !== '') {
      const known = this.members.has(memberId) || (this.#promised.has(memberId) && instanceId === null);
      const error =
        known && instanceId === null ? errorCodes.NONE : this.speakerError({ memberId, instanceId });
      if (error !== errorCodes.NONE) return error;
    } else if (this.members.size + this.#promised.size >= membersMax) {
      const returns = instanceId !== null && this.#statics.has(instanceId);
      if (!returns) return errorCodes.GROUP_MAX_SIZE_REACHED;
    }
    const replaced = instanceId === null ? memberId : (this.#statics.get(instanceId) ?? memberId);
    const others = [...this.members.values()].filter((member) => member.id !== replaced);
    let bytes = metadataBytes(protocols);
    for (const other of others) bytes += metadataBytes(other.protocols);
    if (bytes > metadataBytesMax) return errorCodes.GROUP_MAX_SIZE_REACHED;
    if (others.length === 0) return errorCodes.NONE;
    const common = protocols.some(({ name }) => others.every((member) => supports(member, name)));
    return protocolType === this.protocolType && common
      ? errorCodes.NONE
      : errorCodes.INCONSISTENT_GROUP_PROTOCOL;
  }

  #joinKnown(request: JoinRequest, now: number, reply: JoinReply): void {
    const member = this.members.get(request.memberId);
    if (member === undefined) {
      this.#promised.delete(request.memberId);
      this.#add(request.memberId, request, now, reply);
      return;
    }
    const same = sameProtocols(member, request.protocols);
    const settled =
      this.state === 'Stable' ? member.id !== this.leader : this.state === 'CompletingRebalance';
    member.expiresAt = now + request.sessionTimeoutMs;
    if (same && settled) {
      reply(this.#joined(member));
      return;
    }
    this.#update(member, request);
    this.#wait(member, now, reply);
  }

  /** Tells a newcomer its id. It has a session timeout to come back, so that a lost answer leaves no ghost member. */
  #promise(request: JoinRequest, now: number, reply: JoinReply): void {
    const memberId = this.#hooks.newMemberId(request.clientId);
    this.#promised.set(memberId, now + request.sessionTimeoutMs);
    reply(this.#refusal(memberId, errorCodes.MEMBER_ID_REQUIRED));
  }

  #add(memberId: string, request: JoinRequest, now: number, reply: JoinReply): void {
    const { instanceId, clientId, clientHost, sessionTimeoutMs, rebalanceTimeoutMs, protocols } = request;
    const member: Member = {
      id: memberId,
      instanceId,
      clientId,
      clientHost,
      sessionTimeoutMs,
      rebalanceTimeoutMs,
      protocols: ownProtocols(protocols),
      assignment: noBytes,
      expiresAt: now + sessionTimeoutMs,
      joining: null,
      syncing: null,
    };
    this.members.set(memberId, member);
    if (instanceId !== null) this.#statics.set(instanceId, memberId);
    this.protocolType = request.protocolType;
    this.#wait(member, now, reply);
  }

  /** A static member that restarted takes its place over under a new id; whoever had it is fenced. */
  #replaceStatic(request: JoinRequest, now: number, reply: JoinReply): void {
    const instanceId = request.instanceId!;
    const old = this.members.get(this.#statics.get(instanceId)!)!;
    const memberId = this.#hooks.newMemberId(instanceId);
    this.#answerWaiting(old, errorCodes.FENCED_INSTANCE_ID);
    const unchanged = sameProtocols(old, request.protocols);
    const member: Member = {
      ...old,
      id: memberId,
      clientId: request.clientId,
      clientHost: request.clientHost,
      expiresAt: now + request.sessionTimeoutMs,
    };
    this.#update(member, request);
    const wasLeader = this.leader === old.id;
    this.members.delete(old.id);
    this.members.set(memberId, member);
    this.#statics.set(instanceId, memberId);
    if (wasLeader) this.leader = memberId;
    if (this.state !== 'Stable' || !unchanged) {
      this.#wait(member, now, reply);
      return;
    }
    this.#hooks.store((error) => {
      if (error !== errorCodes.NONE) reply(this.#refusal(memberId, error));
      // Before version 9 a leader can only be kept from assigning again by being told that another one leads.
      else if (wasLeader && !request.canSkipAssignment)
        reply({ ...this.#joined(member), leader: old.id, members: [] });
      else reply({ ...this.#joined(member), skipAssignment: wasLeader });
    }, null);
  }

  #update(member: Member, request: JoinRequest): void {
    member.protocols = ownProtocols(request.protocols);
    member.sessionTimeoutMs = request.sessionTimeoutMs;
    member.rebalanceTimeoutMs = request.rebalanceTimeoutMs;
  }

  /** The member waits for the rebalance, which begins if there is none. */
  #wait(member: Member, now: number, reply: JoinReply): void {
    member.joining?.(this.#refusal(member.id, errorCodes.REBALANCE_IN_PROGRESS));
    const isNew = member.joining === null;
    member.joining = reply;
    if (this.state !== 'PreparingRebalance') this.#prepare(now);
    else if (this.#initialUntil > now && isNew) {
      this.#phaseEndsAt = Math.min(now + this.#limits.initialDelayMs, this.#initialUntil);
    }
    this.#gatheredIfComplete(now);
  }

  #prepare(now: number): void {
    for (const member of this.members.values()) {
      const { syncing } = member;
      member.syncing = null;
      if (syncing !== null) member.expiresAt = now + member.sessionTimeoutMs;
      syncing?.(syncRefusal(errorCodes.REBALANCE_IN_PROGRESS));
    }
    const first = this.state === 'Empty' && this.#limits.initialDelayMs > 0;
    this.state = 'PreparingRebalance';
    this.#storing = false;
    const timeout = this.#rebalanceTimeoutMs();
    this.#initialUntil = first ? now + timeout : 0;
    this.#phaseEndsAt = now + (first ? Math.min(this.#limits.initialDelayMs, timeout) : timeout);
  }

  #rebalanceTimeoutMs(): number {
    let longest = 0;
    for (const member of this.members.values()) longest = Math.max(longest, member.rebalanceTimeoutMs);
    return longest;
  }

  /** Gathering ends early once everybody is there, except the first time, which waits for more. */
  #gatheredIfComplete(now: number): void {
    if (this.state !== 'PreparingRebalance' || this.#initialUntil > now || this.#promised.size > 0) return;
    for (const member of this.members.values()) if (member.joining === null) return;
    this.#gathered(now);
  }

  #phaseOver(now: number): void {
    this.#initialUntil = 0;
    const present = [...this.members.values()].filter((member) => member.joining !== null);
    // Only static members are left and none came back: they keep their places until their sessions end.
    const waiting = [...this.members.values()].filter((member) => member.joining === null);
    for (const member of waiting) if (member.instanceId === null) this.#forget(member);
    if (present.length === 0 && this.members.size > 0) {
      this.#phaseEndsAt = now + this.#rebalanceTimeoutMs();
      return;
    }
    this.#gathered(now);
  }

  /** A new generation begins with those who are there. */
  #gathered(now: number): void {
    this.generation++;
    this.#initialUntil = 0;
    const members = [...this.members.values()];
    if (members.length === 0) {
      this.#becomeEmpty();
      return;
    }
    this.state = 'CompletingRebalance';
    this.protocolName = electProtocol(members);
    const leader = this.members.get(this.leader);
    if (leader?.joining == null) this.leader = members.find((member) => member.joining !== null)!.id;
    this.#phaseEndsAt = now + this.#rebalanceTimeoutMs();
    for (const member of members) {
      const { joining } = member;
      if (joining === null) continue;
      member.joining = null;
      member.expiresAt = now + member.sessionTimeoutMs;
      joining(this.#joined(member));
    }
  }

  #becomeEmpty(): void {
    this.state = 'Empty';
    this.protocolName = null;
    this.leader = '';
    this.#phaseEndsAt = Infinity;
    // Nobody waits for this; if it is lost, the members of before are restored and expire again.
    this.#hooks.store(() => undefined, null);
  }

  #syncError(request: SyncRequest): ErrorNumber {
    const { protocolType, protocolName } = request;
    const error = this.speakerError(request);
    if (error !== errorCodes.NONE) return error;
    if (request.generation !== this.generation) return errorCodes.ILLEGAL_GENERATION;
    if (
      (protocolType !== null && protocolType !== this.protocolType) ||
      (protocolName !== null && protocolName !== this.protocolName)
    ) {
      return errorCodes.INCONSISTENT_GROUP_PROTOCOL;
    }
    return this.state === 'PreparingRebalance' ? errorCodes.REBALANCE_IN_PROGRESS : errorCodes.NONE;
  }

  #assign(request: SyncRequest, now: number): void {
    const { generation } = this;
    const assignments = new Map<string, Buffer>();
    for (const id of this.members.keys()) assignments.set(id, noBytes);
    for (const { memberId, assignment } of request.assignments) {
      if (assignments.has(memberId)) assignments.set(memberId, ownCopy(assignment));
    }
    this.#storing = true;
    this.#hooks.store((error) => {
      if (this.state !== 'CompletingRebalance' || this.generation !== generation) return;
      this.#storing = false;
      if (error !== errorCodes.NONE) this.#assignFailed(error);
      else this.#assigned(assignments, now);
    }, assignments);
  }

  #assigned(assignments: ReadonlyMap<string, Buffer>, now: number): void {
    this.state = 'Stable';
    this.#phaseEndsAt = Infinity;
    for (const member of this.members.values()) {
      member.assignment = assignments.get(member.id) ?? noBytes;
      const { syncing } = member;
      if (syncing === null) continue;
      member.syncing = null;
      member.expiresAt = Math.max(member.expiresAt, now + member.sessionTimeoutMs);
      syncing(this.#synced(member));
    }
  }

  #assignFailed(error: ErrorNumber): void {
    for (const member of this.members.values()) {
      const { syncing } = member;
      member.syncing = null;
      syncing?.(syncRefusal(error));
    }
  }

  /** Members that did not ask for their assignment in time are out, and the rest gathers again. */
  #dropUnsynced(now: number): void {
    const missing = [...this.members.values()].filter((member) => member.syncing === null);
    for (const member of missing) this.#forget(member);
    this.#prepare(now);
    this.#gatheredIfComplete(now);
  }

  #remove(member: Member, now: number): void {
    this.#answerWaiting(member, errorCodes.UNKNOWN_MEMBER_ID);
    this.#forget(member);
    if (this.state === 'Stable' || this.state === 'CompletingRebalance') this.#prepare(now);
    this.#gatheredIfComplete(now);
  }

  #forget(member: Member): void {
    this.members.delete(member.id);
    if (member.instanceId !== null && this.#statics.get(member.instanceId) === member.id) {
      this.#statics.delete(member.instanceId);
    }
  }

  #touch(memberId: string, now: number): void {
    const member = this.members.get(memberId);
    if (member !== undefined) member.expiresAt = now + member.sessionTimeoutMs;
  }

  #answerWaiting(member: Member, error: ErrorNumber): void {
    const { joining, syncing } = member;
    member.joining = null;
    member.syncing = null;
    joining?.(this.#refusal(member.id, error));
    syncing?.(syncRefusal(error));
  }

  #joined(member: Member): JoinAnswer {
    const leads = member.id === this.leader;
    const everybody = leads ? [...this.members.values()] : [];
    return {
      errorCode: errorCodes.NONE,
      memberId: member.id,
      generation: this.generation,
      protocolType: this.protocolType,
      protocolName: this.protocolName,
      leader: this.leader,
      skipAssignment: false,
      members: everybody.map((each) => ({
        memberId: each.id,
        groupInstanceId: each.instanceId,
        metadata: metadataOf(each, this.protocolName),
      })),
    };
  }

  #synced(member: Member): SyncAnswer {
    const { protocolType, protocolName } = this;
    return { errorCode: errorCodes.NONE, protocolType, protocolName, assignment: member.assignment };
  }

  #refusal(memberId: string, errorCode: ErrorNumber): JoinAnswer {
    const nothing = {
      protocolType: null,
      protocolName: null,
      leader: '',
      skipAssignment: false,
      members: [],
    };
    return { errorCode, memberId, generation: -1, ...nothing };
  }
}

function syncRefusal(errorCode: ErrorNumber): SyncAnswer {
  return { errorCode, protocolType: null, protocolName: null, assignment: noBytes };
}
