import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { silentLogger, systemClock, systemRandom } from '@robustmq/core';
import { createKafkaAdapter } from '@robustmq/kafka';
import type { KafkaAdapter } from '@robustmq/kafka';
import { advertised, apiVersions, apis, errorCodes } from '@robustmq/kafka-codec';
import type { Kernel } from '@robustmq/kernel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KafkaClient } from './kafka-client.ts';
import { createMemoryStorage, startKernel } from './memory-kernel.ts';

let kernel: Kernel;
let kafka: KafkaAdapter;

beforeAll(async () => {
  kernel = await startKernel(await createMemoryStorage());
  kafka = createKafkaAdapter(
    { hosts: ['127.0.0.1'], port: 0, nodeId: 1 },
    { kernel, clock: systemClock, random: systemRandom, logger: silentLogger },
  );
  await kafka.start();
});

afterAll(async () => {
  await kafka.stop();
  await kernel.stop();
});

interface Row {
  readonly apiKey: number;
  readonly name: string;
  readonly min: number;
  readonly max: number;
}

/** The rows of the table in the documentation. */
function documented(): Row[] {
  const text = readFileSync(new URL('../../../docs/kafka-schemas.md', import.meta.url), 'utf8');
  return [...text.matchAll(/^\| (\d+) \| (\w+) \| (\d+)-(\d+) \|/gm)].map(([, key, name, min, max]) => ({
    apiKey: Number(key),
    name: name!,
    min: Number(min),
    max: Number(max),
  }));
}

/** Sends a request's header without its body: `closed`, or the error code of the answer. */
function probe(apiKey: number, version: number): Promise<string> {
  const frame = Buffer.alloc(14);
  frame.writeInt32BE(10, 0);
  frame.writeInt16BE(apiKey, 4);
  frame.writeInt16BE(version, 6);
  frame.writeInt32BE(1, 8);
  frame.writeInt16BE(-1, 12);
  return new Promise((resolve) => {
    const { port, host } = kafka.address();
    const socket = connect(port, host, () => socket.write(frame));
    socket.on('data', (data) => {
      resolve(`answered ${data.readInt16BE(8)}`);
      socket.destroy();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve('closed'));
  });
}

describe('ApiVersions', () => {
  it('kafka defect 20: says exactly what is implemented, and the documentation says the same', async () => {
    const client = await KafkaClient.connect(kafka.address());
    const answer = await client.send(apiVersions, 4, {});
    client.close();
    const said = answer.apiKeys.map(({ apiKey, minVersion, maxVersion }) => ({
      apiKey,
      name: apis.get(apiKey)!.name,
      min: minVersion,
      max: maxVersion,
    }));
    expect(said).toEqual(documented());
    expect(said.length).toBe(advertised.length);
  });

  it('is answered with error 35 in version 0 where its version is not known', async () => {
    expect(await probe(apiVersions.key, 5)).toBe(`answered ${errorCodes.UNSUPPORTED_VERSION}`);
    expect(await probe(apiVersions.key, -1)).toBe(`answered ${errorCodes.UNSUPPORTED_VERSION}`);
  });

  it('kafka defect 20: versions around what is served end the connection', async () => {
    for (const { apiKey, max, serveMin } of advertised) {
      if (apiKey === apiVersions.key) continue;
      expect(await probe(apiKey, max + 1), `${apiKey} v${max + 1}`).toBe('closed');
      if (serveMin > 0) expect(await probe(apiKey, serveMin - 1), `${apiKey}`).toBe('closed');
    }
    for (const unknown of [4, 7, 17, 36, 68, 92, -1]) expect(await probe(unknown, 0)).toBe('closed');
  });
});
