import type { Clock, Gates, ListenAddress, Logger, Random } from '@robustmq/core';
import type { Kernel } from '@robustmq/kernel';
import type { RequestHeader } from '@robustmq/kafka-codec';
import type { AnswerTurn } from './answer-turn.ts';
import type { GroupCoordinator } from './groups/coordinator.ts';
import type { GroupLimits } from './groups/group.ts';
import type { KafkaCounters } from './metrics.ts';
import type { ProduceDeadlines } from './produce-deadlines.ts';

export interface KafkaOptions extends ListenAddress {
  /** What clients are told to connect to; default: the first host and the port that are bound. */
  readonly advertisedHost?: string;
  readonly advertisedPort?: number;
  readonly nodeId: number;
  /** Open connections; more are closed at once. Default 10,000. */
  readonly connectionsMax?: number;
  /** Longest request, bytes. Default 100 MiB. */
  readonly maxRequestBytes?: number;
  /** A connection without a request for this long is closed. Default 10 min. */
  readonly idleMs?: number;
  /** A connection that does not complete a request within this time is closed. Default 30 s. */
  readonly partialRequestMs?: number;
  /** A connection that takes nothing of what it asked for during this time is closed. Default 60 s. */
  readonly stalledMs?: number;
  /** Bytes of incomplete requests, all connections together; beyond it who holds most is closed. Default 512 MiB. */
  readonly partialBytesMax?: number;
  /** Bytes of answers that clients have not taken; above it a fetch gets one batch. Default 256 MiB. */
  readonly unsentBytesMax?: number;
  /** Bounds and delays of consumer groups; what is left out has its default. */
  readonly groups?: Partial<GroupLimits>;
}

export interface KafkaModules {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** What the process lets in; left out, everything. */
  readonly gates?: Gates;
}

/** What handlers work with: one per adapter. */
export interface KafkaContext extends KafkaModules {
  readonly gates: Gates;
  readonly options: KafkaOptions;
  readonly counters: KafkaCounters;
  readonly groups: GroupCoordinator;
  readonly answers: AnswerTurn;
  readonly produceDeadlines: ProduceDeadlines;
  /** More is held for requests that are not complete; who holds most is closed when it is too much. */
  boundPartial(): void;
  /** The advertised address. */
  broker(): { nodeId: number; host: string; port: number };
}

/** The connection that a request came from. */
export interface Peer {
  /** The client's address. */
  readonly host: string;
  readonly closed: boolean;
  /** Calls `task` once when the connection is gone. Returns a function that takes it back. */
  onClose(task: () => void): () => void;
}

/** One request as a handler sees it. */
export interface Request extends RequestHeader {
  /** Valid until the handler returns, an asynchronous one until it first waits: what is read next lies in the same memory. */
  readonly frame: Buffer;
  /** The frame in memory that nothing else is read into. */
  keep(): Buffer;
  readonly peer: Peer;
  /** Gives the answer of a handler that has returned `later`; once. */
  answer(answer: Answer): void;
  /** Instead of an answer: closes the connection. */
  refuse(error: unknown): void;
}

/** The pieces of a response, or how to get them; null: the request has none. */
export type Answer = readonly Buffer[] | LentAnswer | LateAnswer | null;

/** A response whose pieces are lent: `sent` is called once, when nobody will read them any more. */
export interface LentAnswer {
  readonly pieces: readonly Buffer[];
  sent(): void;
}

/** A response that is encoded when it is written, a small one where others of its connection stand. */
export interface LateAnswer {
  /** Returns the position behind it, -1 when it does not fit. */
  encodeInto(target: { readonly bytes: Buffer; readonly at: number }): number;
  encode(): readonly Buffer[];
}

/** Returned by a handler that will call `request.answer`, or `request.refuse`, itself: no promise for a request. */
export const later = 'later';

export type Handler = (context: KafkaContext, request: Request) => Answer | Promise<Answer> | typeof later;
