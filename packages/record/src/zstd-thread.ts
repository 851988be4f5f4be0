import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { RobustError } from '@robustmq/core';
import type { RecordErrorCode } from './errors.ts';
import { undecodable } from './errors.ts';

/** Decompressions that may wait or run; more are refused. */
const pendingMax = 32;
/** WebAssembly memory only grows: after a frame above this the idle thread ends, which gives it back. */
const keptFrameBytes = 8 * 1024 * 1024;

/**
 * Text rather than a file, because the same source runs compiled and, in tests, as it stands, and a worker takes no
 * TypeScript file on Node 20.
 */
const threadSource = `
const { parentPort, workerData } = require('node:worker_threads');
const zstd = require(workerData);
const ready = zstd.init();
parentPort.on('message', async ({ frame, boundBytes }) => {
  await ready;
  try {
    const content = zstd.decompress(frame, { defaultHeapSize: boundBytes });
    parentPort.postMessage({ content }, [content.buffer]);
  } catch (error) {
    parentPort.postMessage({ error: String(error.message) });
  }
});
`;

interface Reply {
  readonly content?: Uint8Array;
  readonly error?: string;
}

interface Waiting {
  readonly resolve: (content: Buffer) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Decompresses zstd frames on one worker thread, in order. The thread starts with the first frame and never keeps the
 * process alive by itself. Only where Node has no zstd of its own: one frame of 16 MiB blocks the event loop for
 * ~60 ms without it, and not at all with it.
 */
export class ZstdThread {
  #worker: Worker | null = null;
  /** Replies come in the order of the requests. */
  #waiting: Waiting[] = [];

  /** The content of one frame that gives at most `boundBytes`. Rejects with the library's message in the cause. */
  decompress(frame: Buffer, boundBytes: number): Promise<Buffer> {
    if (this.#waiting.length >= pendingMax) {
      const busy = new RobustError<RecordErrorCode>('BATCH_CODEC_BUSY', 'too many zstd frames wait', {
        retriable: true,
        detail: { pendingMax },
      });
      return Promise.reject(busy);
    }
    const worker = this.#worker ?? this.#start();
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        if (this.#waiting.length > 0 || this.#worker !== worker) return;
        if (boundBytes > keptFrameBytes) this.#end(worker);
        else worker.unref();
      };
      this.#waiting.push({
        resolve: (content) => {
          settle();
          resolve(content);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      });
      worker.ref();
      const copy = new Uint8Array(frame);
      worker.postMessage({ frame: copy, boundBytes }, [copy.buffer]);
    });
  }

  #start(): Worker {
    const library = createRequire(import.meta.url).resolve('@bokuweb/zstd-wasm');
    const worker = new Worker(threadSource, { eval: true, workerData: library, execArgv: [] });
    worker.on('message', (reply: Reply) => {
      const waiting = this.#waiting.shift();
      if (reply.content !== undefined) waiting?.resolve(asBuffer(reply.content));
      else waiting?.reject(new Error(reply.error));
    });
    worker.on('error', (error) => this.#fail(worker, error));
    worker.on('exit', (code) => this.#fail(worker, new Error(`the zstd thread ended with ${code}`)));
    this.#worker = worker;
    return worker;
  }

  #end(worker: Worker): void {
    this.#worker = null;
    void worker.terminate();
  }

  /** The first in the queue was being worked on and is to blame; the others may be tried again. */
  #fail(worker: Worker, cause: Error): void {
    if (this.#worker !== worker) return;
    this.#worker = null;
    const [running, ...others] = this.#waiting;
    this.#waiting = [];
    running?.reject(undecodable('the zstd thread failed', cause));
    for (const waiting of others) {
      waiting.reject(
        new RobustError<RecordErrorCode>('BATCH_CODEC_BUSY', 'the zstd thread ended', {
          retriable: true,
          cause,
        }),
      );
    }
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
