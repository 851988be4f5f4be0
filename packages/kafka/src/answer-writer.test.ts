import type { Socket } from 'node:net';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Answer } from './adapter.ts';
import { AnswerWriter } from './answer-writer.ts';

/** A socket as far as a writer uses it. The system takes what it is given at once, or when it is told to. */
class FakeSocket {
  takesAll = true;
  taken = '';
  writes = 0;
  #waiting: { bytes: Buffer; taken: (() => void) | undefined }[] = [];

  get writableLength(): number {
    return this.#waiting.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  write(bytes: Buffer, taken?: () => void): void {
    this.writes++;
    this.#waiting.push({ bytes, taken });
    if (this.takesAll) this.take();
  }

  cork(): void {
    // Parts of one write.
  }

  uncork(): void {
    // What was written is with the system already.
  }

  /** The bytes are what they are now, not when they were given. */
  take(): void {
    for (const { bytes, taken } of this.#waiting.splice(0)) {
      this.taken += bytes.toString('latin1');
      taken?.();
    }
  }
}

class Client {
  readonly socket = new FakeSocket();
  readonly writer = new AnswerWriter(this.socket as unknown as Socket);
  expected = '';
  lent = 0;

  add(kind: 'late' | 'pieces' | 'lent', text: string): void {
    this.expected += text;
    this.writer.add(this.#answer(kind, Buffer.from(text)));
  }

  #answer(kind: 'late' | 'pieces' | 'lent', bytes: Buffer): NonNullable<Answer> {
    const pieces = [bytes.subarray(0, 1), bytes.subarray(1)];
    if (kind === 'pieces') return pieces;
    if (kind === 'late') return { encode: () => pieces, encodeInto: (target) => encodeInto(bytes, target) };
    this.lent++;
    return { pieces, sent: () => this.lent-- };
  }
}

function encodeInto(bytes: Buffer, { bytes: target, at }: { bytes: Buffer; at: number }): number {
  return at + bytes.length > target.length ? -1 : at + bytes.copy(target, at);
}

it('gathers the answers of a turn into one write', () => {
  const client = new Client();
  for (const text of ['one', 'two', 'three']) client.add('late', text);
  expect([client.socket.writes, client.writer.unsentBytes]).toEqual([0, 11]);
  client.writer.flush();
  expect([client.socket.writes, client.socket.taken, client.writer.unsentBytes]).toEqual([
    1,
    'onetwothree',
    0,
  ]);
  client.writer.flush();
  expect(client.socket.writes).toBe(1);
});

it('has the answers of one connection at a time: another that gathers meanwhile would get its bytes', () => {
  const [first, second] = [new Client(), new Client()];
  first.add('late', 'one');
  expect(() => second.add('late', 'two')).toThrow('one connection gathers answers at a time');
  first.writer.flush();
  expect(first.socket.taken).toBe('one');
});

it('does not keep the memory of all answers for one that has to wait', () => {
  const client = new Client();
  client.socket.takesAll = false;
  let largest = 0;
  const { write } = client.socket;
  client.socket.write = (bytes, taken) => {
    largest = Math.max(largest, bytes.buffer.byteLength);
    write.call(client.socket, bytes, taken);
  };
  client.add('late', 'waits');
  client.writer.flush();
  largest = 0;
  client.add('late', 'waits behind it');
  client.writer.flush();
  expect(largest).toBeLessThanOrEqual(8 * 1024);
});

it('every client gets its answers, byte for byte and in order, whoever takes nothing meanwhile', () => {
  const step = fc.record({
    client: fc.nat(3),
    kind: fc.constantFrom('late' as const, 'late' as const, 'pieces' as const, 'lent' as const),
    bytes: fc.oneof(
      { weight: 6, arbitrary: fc.integer({ min: 1, max: 90 }) },
      fc.constantFrom(5000, 40_000, 70_000),
    ),
    next: fc.constantFrom('go on', 'flush', 'flush', 'stall', 'take'),
  });
  const play = fc.property(fc.array(step, { minLength: 20, maxLength: 120 }), (steps) => {
    const clients = Array.from({ length: 4 }, () => new Client());
    let last: Client | null = null;
    for (const [number, { client: index, kind, bytes, next }] of steps.entries()) {
      const client = clients[index]!;
      // What one gathers is with its socket before another gathers.
      if (last !== client) last?.writer.flush();
      last = client;
      client.add(kind, String.fromCodePoint(65 + (number % 26)).repeat(bytes));
      if (next === 'stall') client.socket.takesAll = false;
      if (next === 'flush') client.writer.flush();
      if (next === 'take') {
        client.socket.takesAll = true;
        client.socket.take();
      }
    }
    last?.writer.flush();
    for (const { socket, expected, lent, writer } of clients) {
      socket.take();
      expect(socket.taken === expected).toBe(true);
      expect(writer.unsentBytes).toBe(0);
      expect(lent).toBeGreaterThanOrEqual(0);
    }
    expect(clients.map(({ lent }) => lent)).toEqual([0, 0, 0, 0]);
  });
  fc.assert(play, { numRuns: 300 });
});
