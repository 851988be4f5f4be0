import { once } from 'node:events';
import { connect, createServer, Server } from 'node:net';
import { describe, expect, it } from 'vitest';
import { listenOn } from './listen.ts';
import type { ListenHooks } from './listen.ts';

/** A machine without IPv6: binding `::1` fails as the system says it. */
class WithoutIpv6 extends Server {
  override listen(...args: unknown[]): this {
    const { host } = args[0] as { host: string };
    if (host !== '::1') return super.listen(...(args as [object, () => void]));
    queueMicrotask(() => this.emit('error', Object.assign(new Error('no'), { code: 'EADDRNOTAVAIL' })));
    return this;
  }
}

const hooks: ListenHooks = {
  createServer: () => createServer(),
  acceptFailed: (error) => {
    throw error;
  },
};
const withoutIpv6: ListenHooks = { ...hooks, createServer: () => new WithoutIpv6() };

describe('listening', () => {
  it('takes one free port for all hosts', async () => {
    const open = await listenOn({ hosts: ['127.0.0.1', '127.0.0.2'], port: 0 }, hooks);
    expect(open.hosts).toEqual(['127.0.0.1', '127.0.0.2']);
    for (const host of open.hosts) {
      await expect(listenOn({ hosts: [host], port: open.port }, hooks)).rejects.toMatchObject({
        code: 'EADDRINUSE',
      });
    }
    await open.close();
  });

  it('does without ::1 where the machine has no IPv6', async () => {
    const open = await listenOn({ hosts: ['127.0.0.1', '::1'], port: 0 }, withoutIpv6);
    expect(open.hosts).toEqual(['127.0.0.1']);
    await open.close();
  });

  it('fails when ::1 is all there should be', async () => {
    const opening = listenOn({ hosts: ['::1'], port: 0 }, withoutIpv6);
    await expect(opening).rejects.toMatchObject({ code: 'EADDRNOTAVAIL' });
  });

  it('leaves nothing open when one host fails', async () => {
    const other = await listenOn({ hosts: ['127.0.0.2'], port: 0 }, hooks);
    const hosts = ['127.0.0.1', '127.0.0.2'];
    const opening = listenOn({ hosts, port: other.port }, hooks);
    await expect(opening).rejects.toMatchObject({ code: 'EADDRINUSE' });
    const again = await listenOn({ hosts: ['127.0.0.1'], port: other.port }, hooks);
    await again.close();
    await other.close();
  });

  it('ends connections that nobody ends', async () => {
    const open = await listenOn({ hosts: ['127.0.0.1'], port: 0 }, hooks);
    const socket = connect(open.port, '127.0.0.1');
    await once(socket, 'connect');
    const closed = once(
      socket.resume().on('error', () => undefined),
      'close',
    );
    await open.close();
    await closed;
  });
});
