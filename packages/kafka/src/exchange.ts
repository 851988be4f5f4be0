import { ownCopy } from '@robustmq/core';
import type { RequestHeader } from '@robustmq/kafka-codec';
import { ownedRequestBytesMin } from '@robustmq/kafka-codec';
import type { Answer, Peer, Request } from './adapter.ts';

/** The side of a connection that its requests answer to. */
export interface ExchangeOwner extends Peer {
  answered(exchange: Exchange): void;
  refuse(error: unknown): void;
}

const nothing = Buffer.alloc(0);

/** A request on a connection and, when it is there, its answer. */
export class Exchange implements Request {
  readonly apiKey: number;
  readonly apiVersion: number;
  readonly correlationId: number;
  readonly clientId: string;
  readonly bodyStart: number;
  readonly bytes: number;
  readonly #owner: ExchangeOwner;
  #frame: Buffer;
  /** The frame lies in memory that the next chunk will be read into. */
  #borrows: boolean;
  started = false;
  #done = false;
  #reply: Answer = null;

  constructor(header: RequestHeader, frame: Buffer, owner: ExchangeOwner) {
    this.apiKey = header.apiKey;
    this.apiVersion = header.apiVersion;
    this.correlationId = header.correlationId;
    this.clientId = header.clientId;
    this.bodyStart = header.bodyStart;
    this.bytes = frame.length;
    this.#owner = owner;
    this.#frame = frame;
    this.#borrows = frame.length < ownedRequestBytesMin;
  }

  get frame(): Buffer {
    return this.#frame;
  }

  keep(): Buffer {
    if (this.#borrows) this.#frame = ownCopy(this.#frame);
    this.#borrows = false;
    return this.#frame;
  }

  /** Its handler has read all of the frame. */
  dropFrame(): void {
    this.#borrows = false;
    this.#frame = nothing;
  }

  get peer(): Peer {
    return this.#owner;
  }

  get done(): boolean {
    return this.#done;
  }

  /** The answer, once it is `done`; to be sent by the caller. */
  give(): Answer {
    const reply = this.#reply;
    this.#reply = null;
    return reply;
  }

  /** Takes the answer that a handler returned: its caller looks at `done` itself. */
  take(answer: Answer): void {
    this.#reply = answer;
    this.#done = true;
  }

  answer(answer: Answer): void {
    this.take(answer);
    this.#owner.answered(this);
  }

  /** Lets go of an answer that nobody waits for. */
  drop(): void {
    const reply = this.give();
    if (reply !== null && 'sent' in reply) reply.sent();
  }

  refuse(error: unknown): void {
    this.#owner.refuse(error);
  }
}
