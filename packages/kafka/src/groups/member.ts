import { ownCopy } from '@robustmq/core';

/** One way to assign partitions that a member supports, with what it says about itself in it. */
export interface MemberProtocol {
  readonly name: string;
  readonly metadata: Buffer;
}

/** The error a join or sync is answered with; 0 is success. */
export interface JoinAnswer {
  readonly errorCode: number;
  readonly memberId: string;
  readonly generation: number;
  readonly protocolType: string | null;
  readonly protocolName: string | null;
  readonly leader: string;
  readonly skipAssignment: boolean;
  /** All members for the leader, none for the others. */
  readonly members: readonly { memberId: string; groupInstanceId: string | null; metadata: Buffer }[];
}

export interface SyncAnswer {
  readonly errorCode: number;
  readonly protocolType: string | null;
  readonly protocolName: string | null;
  readonly assignment: Buffer;
}

export type JoinReply = (answer: JoinAnswer) => void;
export type SyncReply = (answer: SyncAnswer) => void;

/** A member of a classic group. Times are monotonic milliseconds. */
export interface Member {
  readonly id: string;
  readonly instanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  sessionTimeoutMs: number;
  rebalanceTimeoutMs: number;
  protocols: readonly MemberProtocol[];
  assignment: Buffer;
  /** The session ends here, unless the member waits for an answer of ours. */
  expiresAt: number;
  /** Waits for the rebalance to gather its members. */
  joining: JoinReply | null;
  /** Waits for the leader's assignment. */
  syncing: SyncReply | null;
}

export function supports(member: Member, protocol: string): boolean {
  return member.protocols.some(({ name }) => name === protocol);
}

/** What a member says about itself, apart from the request that it came in. */
export function ownProtocols(protocols: readonly MemberProtocol[]): MemberProtocol[] {
  return protocols.map(({ name, metadata }) => ({ name, metadata: ownCopy(metadata) }));
}

export function metadataOf(member: Member, protocol: string | null): Buffer {
  return member.protocols.find(({ name }) => name === protocol)?.metadata ?? Buffer.alloc(0);
}

export function metadataBytes(protocols: readonly MemberProtocol[]): number {
  let bytes = 0;
  for (const { name, metadata } of protocols) bytes += name.length + metadata.length;
  return bytes;
}

export function sameProtocols(member: Member, protocols: readonly MemberProtocol[]): boolean {
  if (member.protocols.length !== protocols.length) return false;
  return member.protocols.every(({ name, metadata }, index) => {
    const other = protocols[index]!;
    return other.name === name && metadata.equals(other.metadata);
  });
}

/**
 * The protocol of a generation: every member votes for the first of its own that all support; most votes win, the
 * earlier name of the first member among equals. Null when there is none that all support.
 */
export function electProtocol(members: readonly Member[]): string | null {
  const common = members[0]?.protocols.filter(({ name }) =>
    members.every((member) => supports(member, name)),
  );
  if (common === undefined || common.length === 0) return null;
  const votes = new Map(common.map(({ name }) => [name, 0]));
  for (const member of members) {
    const choice = member.protocols.find(({ name }) => votes.has(name))!;
    votes.set(choice.name, votes.get(choice.name)! + 1);
  }
  let best = common[0]!.name;
  for (const [name, count] of votes) if (count > votes.get(best)!) best = name;
  return best;
}
