import type { Socket } from 'node:net';
import { RobustError } from '@robustmq/core';
import { decodeRequestHeader, produce, RequestReader } from '@robustmq/kafka-codec';
import type { Answer, Handler, KafkaContext, Request } from './adapter.ts';

/** Requests of one connection that are being answered or wait, at most; then its socket is not read. */
const pendingMax = 64;

interface Pending {
  readonly request: Request;
  started: boolean;
  /** Set when the answer is there. */
  done: boolean;
  answer: Answer;
}

export type HandlerOf = (apiKey: number, apiVersion: number) => Handler | null;

/**
 * One client. Responses leave in the order of the requests. Produce requests overlap, as their appends keep their
 * order; any other request waits for those before it, and what follows waits for it.
 */
export class Connection {
  readonly #socket: Socket;
  readonly #context: KafkaContext;
  readonly #handlerOf: HandlerOf;
  readonly #reader: RequestReader;
  #pending: Pending[] = [];
  #paused = false;
  #closed = false;
  #ending = false;
  lastRequestAt: number;

  constructor(socket: Socket, context: KafkaContext, handlerOf: HandlerOf) {
    this.#socket = socket;
    this.#context = context;
    this.#handlerOf = handlerOf;
    this.#reader = new RequestReader({
      maxRequestBytes: context.options.maxRequestBytes ?? 100 * 1024 * 1024,
    });
    this.lastRequestAt = context.clock.monotonic();
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.#data(chunk));
    socket.on('drain', () => this.#flow());
    socket.on('error', () => this.close());
    socket.on('close', () => {
      this.#closed = true;
      this.#pending = [];
    });
  }

  /** Reads no more, and closes when what was read is answered. */
  end(): void {
    this.#ending = true;
    this.#socket.pause();
    this.#endIfIdle();
  }

  close(): void {
    this.#closed = true;
    this.#socket.destroy();
  }

  #endIfIdle(): void {
    if (!this.#ending || this.#pending.length > 0 || this.#closed) return;
    this.#closed = true;
    this.#socket.end(() => this.#socket.destroy());
  }

  #data(chunk: Buffer): void {
    if (this.#ending) return;
    try {
      this.#reader.push(chunk, (frame) => this.#request(frame));
    } catch (error) {
      this.#refuse(error);
      return;
    }
    this.#advance();
    this.#flow();
  }

  #request(frame: Buffer): void {
    if (this.#closed) return;
    this.lastRequestAt = this.#context.clock.monotonic();
    this.#context.counters.requests++;
    const clientHost = this.#socket.remoteAddress ?? '';
    const request: Request = { ...decodeRequestHeader(frame), frame, clientHost };
    this.#pending.push({ request, started: false, done: false, answer: null });
  }

  /** Starts what may start and writes what is answered, in order. */
  #advance(): void {
    for (const pending of this.#pending) {
      const overlaps = pending.request.apiKey === produce.key;
      if (!pending.started) {
        if (!overlaps && pending !== this.#pending[0]) break;
        this.#start(pending);
        if (this.#closed) return;
      }
      if (!overlaps && !pending.done) break;
    }
    this.#write();
  }

  #start(pending: Pending): void {
    pending.started = true;
    const { request } = pending;
    const handler = this.#handlerOf(request.apiKey, request.apiVersion);
    if (handler === null) {
      this.#refuse(null);
      return;
    }
    try {
      const answer = handler(this.#context, request);
      if (answer instanceof Promise)
        answer.then(
          (later) => this.#answered(pending, later),
          (error) => this.#refuse(error),
        );
      else {
        pending.answer = answer;
        pending.done = true;
      }
    } catch (error) {
      this.#refuse(error);
    }
  }

  #answered(pending: Pending, answer: Answer): void {
    if (this.#closed) return;
    pending.answer = answer;
    pending.done = true;
    this.#advance();
    this.#flow();
  }

  #write(): void {
    let head = 0;
    const socket = this.#socket;
    let corked = false;
    for (let pending = this.#pending[0]; pending?.done === true; pending = this.#pending[++head]) {
      if (pending.answer === null) continue;
      if (!corked) {
        socket.cork();
        corked = true;
      }
      for (const piece of pending.answer) socket.write(piece);
    }
    if (corked) socket.uncork();
    if (head === 0) return;
    this.#pending = this.#pending.slice(head);
    if (this.#pending.length > 0) this.#advance();
    else this.#endIfIdle();
  }

  /** Reads on only while this client and the log keep up. */
  #flow(): void {
    const { appender } = this.#context.kernel;
    const pause = this.#pending.length >= pendingMax || this.#socket.writableNeedDrain || appender.pressed;
    if (pause === this.#paused || this.#closed || this.#ending) return;
    this.#paused = pause;
    if (!pause) {
      this.#socket.resume();
      return;
    }
    this.#socket.pause();
    if (appender.pressed) appender.whenRelieved(() => this.#flow());
  }

  /** Bad input, or a request we do not know: the protocol has no other answer than to close. */
  #refuse(error: unknown): void {
    this.#context.counters.protocolErrors++;
    if (error !== null) {
      const known = error instanceof RobustError;
      const log = this.#context.logger;
      if (known) log.debug({ code: error.code, peer: this.#socket.remoteAddress }, 'a request is malformed');
      else log.error({ error, peer: this.#socket.remoteAddress }, 'a request failed');
    }
    this.close();
  }
}
