import type { Socket } from 'node:net';
import { InvariantError, RobustError, SocketReads } from '@robustmq/core';
import { decodeRequestHeader, produce, RequestReader } from '@robustmq/kafka-codec';
import type { Handler, KafkaContext } from './adapter.ts';
import { later } from './adapter.ts';
import type { Answered } from './answer-turn.ts';
import { AnswerWriter } from './answer-writer.ts';
import type { ExchangeOwner } from './exchange.ts';
import { Exchange } from './exchange.ts';
import { isPlainName } from './names.ts';

/** Requests of one connection that are being answered or wait, at most; then its socket is not read. */
const pendingMax = 64;
/** Bytes of these requests, at most. */
const pendingBytesMax = 16 * 1024 * 1024;
/** A peer that is silent for so long is asked by the system whether it is there; one that is gone is noticed soon after. */
const probeAfterMs = 60_000;
/** A connection with more requests than this takes goes on in the next turn of the event loop. */
const turnMs = 5;

export type HandlerOf = (apiKey: number, apiVersion: number) => Handler | null;

/** How long a connection may do nothing, ms. */
export interface ConnectionLimits {
  readonly idleMs: number;
  readonly partialRequestMs: number;
  readonly stalledMs: number;
}

/**
 * One client. Responses leave in the order of the requests. Produce requests overlap, as their appends keep their
 * order; any other request waits for those before it, and what follows waits for it. Nothing is begun while the client
 * does not take what was answered before.
 */
export class Connection implements ExchangeOwner, Answered {
  readonly host: string;
  readonly #socket: Socket;
  readonly #reads: SocketReads;
  readonly #context: KafkaContext;
  readonly #handlerOf: HandlerOf;
  readonly #limits: ConnectionLimits;
  readonly #reader: RequestReader;
  readonly #writer: AnswerWriter;
  readonly #closeTasks = new Set<() => void>();
  #pending: Exchange[] = [];
  #pendingBytes = 0;
  #paused = false;
  #awaitsRelief = false;
  /** The last one that was looked at: a client does not change it. */
  #clientId = '';
  /** Whether it ever produced: others are read while memory is short. */
  #producer = false;
  readonly #gateOpened = (): void => this.#flow();
  #closed = false;
  #ending = false;
  /** When this turn began, and whether it has started a request. */
  #turnAt = 0;
  #turnUsed = false;
  #yielded = false;
  /** Shares of this connection in the counters of all. */
  #partialBytes = 0;
  #unsentBytes = 0;
  /** When the last chunk came that completed a request, and when the incomplete one began. */
  #requestAt: number;
  #partialSince = 0;

  constructor(socket: Socket, context: KafkaContext, handlerOf: HandlerOf, limits: ConnectionLimits) {
    this.#socket = socket;
    this.#context = context;
    this.#handlerOf = handlerOf;
    this.#limits = limits;
    this.#reader = new RequestReader({
      maxRequestBytes: context.options.maxRequestBytes ?? 100 * 1024 * 1024,
    });
    this.#writer = new AnswerWriter(socket);
    this.host = socket.remoteAddress ?? '';
    this.#requestAt = context.clock.monotonic();
    socket.setNoDelay(true);
    socket.setKeepAlive(true, probeAfterMs);
    this.#reads = new SocketReads(socket, (bytes) => this.#data(bytes));
    socket.on('drain', () => this.goOn());
    // Set while the client owes us reading only; it looks at what the system has sent on, not at whole writes.
    socket.on('timeout', () => {
      context.counters.stalled++;
      this.close();
    });
    socket.on('error', () => this.close());
    socket.on('close', () => this.#gone());
  }

  get closed(): boolean {
    return this.#closed;
  }

  onClose(task: () => void): () => void {
    this.#closeTasks.add(task);
    return () => this.#closeTasks.delete(task);
  }

  /**
   * Takes no more, and closes when what was taken is answered. What still comes is read all the same: a socket that is
   * closed over unread bytes is reset, and its client would lose the answers on their way.
   */
  end(): void {
    this.#ending = true;
    this.#reads.resume();
    this.#endIfIdle();
  }

  close(): void {
    this.#closed = true;
    this.#socket.destroy();
  }

  /** What has come of a request that is not complete: memory that nobody wrote to costs nothing. */
  get partialBytes(): number {
    return this.#partialBytes;
  }

  /** Gives up an incomplete request, and closes: the others need the memory. */
  dropPartial(): void {
    const { host: peer, partialBytes } = this;
    this.#context.logger.warn({ peer, partialBytes }, 'incomplete requests hold too much memory');
    this.refuse(null);
    this.#reader.stop();
    this.#account();
  }

  /** Closes a connection that waits for nothing and asks for nothing, or does not end what it began. */
  closeIfOverdue(now: number): void {
    const { idleMs, partialRequestMs } = this.#limits;
    // While it is paused, or waits for an answer, the delay is ours; but half a request that is kept while memory is short
    // would keep it short.
    if ((this.#paused && !this.#shutOut) || this.#pending.length > 0) this.#partialSince = now;
    else if (now - this.#requestAt > idleMs) this.#overdue();
    else if (this.#reader.midFrame && now - this.#partialSince > partialRequestMs) this.#overdue();
  }

  #overdue(): void {
    this.#context.counters.overdue++;
    this.close();
  }

  /** Memory is short, and this client may send more of what fills it. */
  get #shutOut(): boolean {
    return this.#producer && this.#context.gates.publishers.closed;
  }

  #endIfIdle(): void {
    if (!this.#ending || this.#pending.length > 0 || this.#closed) return;
    this.#closed = true;
    this.#socket.end(() => this.#socket.destroy());
  }

  #gone(): void {
    this.#closed = true;
    for (const request of this.#pending) request.drop();
    this.#pending = [];
    this.#reader.stop();
    this.#context.gates.publishers.forget(this.#gateOpened);
    this.#account();
    for (const task of this.#closeTasks) task();
    this.#closeTasks.clear();
  }

  #data(chunk: Buffer): void {
    if (this.#ending) return;
    const now = this.#context.clock.monotonic();
    const requests = this.#pending.length;
    const continues = this.#reader.midFrame;
    try {
      this.#reader.push(chunk, (frame) => this.#request(frame));
    } catch (error) {
      this.refuse(error);
      return;
    }
    if (this.#pending.length > requests) {
      this.#requestAt = now;
      this.#partialSince = now;
    } else if (!continues) this.#partialSince = now;
    this.#turnAt = now;
    this.#turnUsed = false;
    this.goOn();
    this.#keepWaiting();
  }

  /** Requests that have to wait leave the memory that the next chunk is read into. */
  #keepWaiting(): void {
    const pending = this.#pending;
    for (let at = pending.length - 1; at >= 0 && !pending[at]!.started; at--) pending[at]!.keep();
  }

  #request(frame: Buffer): void {
    if (this.#closed) return;
    this.#context.counters.requests++;
    const request = new Exchange(decodeRequestHeader(frame), frame, this);
    if (request.clientId !== this.#clientId) {
      if (!isPlainName(request.clientId, Infinity)) {
        this.#context.logger.debug({ peer: this.host }, 'a client id can not be kept');
        this.refuse(null);
        return;
      }
      this.#clientId = request.clientId;
    }
    if (request.apiKey === produce.key) this.#producer = true;
    this.#pending.push(request);
    this.#pendingBytes += frame.length;
  }

  /** Writes what is answered and starts what may start, in order. A loop: thousands of requests fit one chunk. */
  #advance(): void {
    if (this.#closed) return;
    const pending = this.#pending;
    const writer = this.#writer;
    let written = 0;
    for (let at = 0; at < pending.length; at++) {
      const each = pending[at]!;
      const overlaps = each.apiKey === produce.key;
      if (!each.started) {
        if ((at > written && !overlaps) || this.#full() || this.#turnIsOver()) break;
        this.#start(each);
        if (this.#closed) return writer.flush();
      }
      if (at === written && each.done) {
        written++;
        this.#pendingBytes -= each.bytes;
        const reply = each.give();
        if (reply !== null) writer.add(reply);
      } else if (!overlaps) break;
    }
    writer.flush();
    if (written > 0) this.#pending = pending.slice(written);
    this.#endIfIdle();
  }

  /** Lets other connections have their turn; the first request of a turn is always started. */
  #turnIsOver(): boolean {
    if (!this.#turnUsed) {
      this.#turnUsed = true;
      return false;
    }
    if (this.#context.clock.monotonic() - this.#turnAt < turnMs) return false;
    if (this.#yielded) return true;
    this.#yielded = true;
    setImmediate(() => {
      this.#yielded = false;
      this.#turnAt = this.#context.clock.monotonic();
      this.#turnUsed = false;
      this.goOn();
    });
    return true;
  }

  /** Whether the client has to read first. What is gathered goes to the system before it counts. */
  #full(): boolean {
    const { writableHighWaterMark } = this.#socket;
    if (this.#writer.unsentBytes < writableHighWaterMark) return false;
    this.#writer.flush();
    return this.#writer.unsentBytes >= writableHighWaterMark;
  }

  #start(request: Exchange): void {
    request.started = true;
    const handler = this.#handlerOf(request.apiKey, request.apiVersion);
    if (handler === null) {
      this.refuse(null);
      return;
    }
    try {
      const answer = handler(this.#context, request);
      request.dropFrame();
      if (answer === later) return;
      if (answer instanceof Promise)
        answer.then(
          (given) => request.answer(given),
          (error) => this.refuse(error),
        );
      else request.take(answer);
    } catch (error) {
      this.refuse(error);
    }
  }

  /** A request has its answer now. */
  answered(request: Exchange): void {
    if (this.#closed) request.drop();
    else this.#context.answers.request(this);
  }

  /** Writes what is answered, starts what may start, and reads on if it may. */
  goOn(): void {
    this.#advance();
    this.#account();
    this.#flow();
  }

  /** Brings this connection's shares of the counters up to date, and watches a client that does not read. */
  #account(): void {
    const { counters } = this.#context;
    const socket = this.#socket;
    const length = this.#closed ? 0 : socket.writableLength;
    const unsent = length >= socket.writableHighWaterMark ? length : 0;
    if (unsent !== this.#unsentBytes) {
      const stalls = unsent > 0;
      if (stalls !== this.#unsentBytes > 0) socket.setTimeout(stalls ? this.#limits.stalledMs : 0);
      counters.unsentBytes += unsent - this.#unsentBytes;
      this.#unsentBytes = unsent;
    }
    const partial = this.#closed ? 0 : this.#reader.receivedBytes;
    if (partial === this.#partialBytes) return;
    const grows = partial > this.#partialBytes;
    counters.partialBytes += partial - this.#partialBytes;
    this.#partialBytes = partial;
    if (grows) this.#context.boundPartial();
  }

  /** Reads on only while this client, the log and memory keep up. */
  #flow(): void {
    if (this.#closed || this.#ending) return;
    const { appender } = this.#context.kernel;
    const behind = this.#pending.length >= pendingMax || this.#pendingBytes >= pendingBytesMax;
    const { pressed } = appender;
    const shutOut = this.#shutOut;
    if (shutOut) this.#context.gates.publishers.whenOpen(this.#gateOpened);
    const pause = behind || this.#unsentBytes > 0 || pressed || shutOut;
    // Asked for even if it was paused before for another reason: that reason may end first.
    if (pressed && !this.#awaitsRelief) {
      this.#awaitsRelief = true;
      appender.whenRelieved(() => {
        this.#awaitsRelief = false;
        this.#flow();
      });
    }
    if (pause === this.#paused) return;
    this.#paused = pause;
    if (pause) this.#reads.pause();
    else this.#reads.resume();
  }

  /** Bad input, or a request we do not know: the protocol has no other answer than to close. */
  refuse(error: unknown): void {
    if (error instanceof InvariantError) throw error;
    if (this.#closed) return;
    this.#context.counters.protocolErrors++;
    if (error !== null) {
      const log = this.#context.logger;
      if (error instanceof RobustError)
        log.debug({ code: error.code, peer: this.host }, 'a request is malformed');
      else log.error({ error, peer: this.host }, 'a request failed');
    }
    this.close();
  }
}
