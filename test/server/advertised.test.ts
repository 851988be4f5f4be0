import { runCommand, hasCommand, ServerProcess } from '@robustmq/testkit';
import { describe, expect, it, vi } from 'vitest';

// Real processes, on a machine that other tests use too.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const installed = hasCommand('kcat', ['-V']);

async function toldBy(server: ServerProcess): Promise<unknown> {
  const { stdout } = await runCommand('kcat', ['-b', server.address('kafka'), '-L', '-J']);
  return (JSON.parse(stdout) as { brokers: unknown }).brokers;
}

describe.skipIf(!installed)(`advertised addresses${installed ? '' : ' (kcat is not installed)'}`, () => {
  it('are what clients are told, whatever is bound', async () => {
    const advertised = 'broker.example.org:19092';
    await using server = await ServerProcess.start({
      config: { allowAnonymous: true, listeners: { kafka: { host: '0.0.0.0', advertised } } },
    });
    expect(await toldBy(server)).toEqual([{ id: 1, name: advertised }]);
  });

  it('have the bound port where none is given', async () => {
    await using server = await ServerProcess.start({
      config: { listeners: { kafka: { advertised: 'broker.example.org' } } },
    });
    expect(await toldBy(server)).toEqual([{ id: 1, name: `broker.example.org:${server.ports.kafka}` }]);
  });

  it('are 127.0.0.1 without configuration, and the node is that of the configuration', async () => {
    await using server = await ServerProcess.start({ config: { nodeId: 5 } });
    expect(await toldBy(server)).toEqual([{ id: 5, name: server.address('kafka') }]);
  });
});
