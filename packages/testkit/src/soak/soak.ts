import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { adminRequest } from '../admin-request.ts';
import { LiveMemory } from '../fuzz/live-memory.ts';
import { ServerProcess } from '../server-process.ts';
import { kafkaWorkloads } from './kafka-workloads.ts';
import { Ledger } from './ledger.ts';
import { mqttWorkloads } from './mqtt-workloads.ts';
import { rawWorkloads } from './raw-workloads.ts';
import type { Sample } from './sample.ts';
import { sampleServer } from './server-sampler.ts';
import { collects } from './verdict.ts';
import type { SoakEnd } from './verdict.ts';
import { Loops } from './workload.ts';
import type { Workload } from './workload.ts';

/** A client without progress for so long is stuck, ms; so is one that has made none at the end. */
const stuckMs = 30_000;
/** A soak may run at low priority, and its server with it. */
const startTimeoutMs = 120_000;
/** Problems that are kept; a broken run would fill memory. */
const problemsMax = 100;

const allWorkloads: readonly Workload[] = [...mqttWorkloads, ...kafkaWorkloads, ...rawWorkloads];

/** Small enough that retention, trimming and deletion run all the time. */
const config = {
  topics: { defaultRetentionBytes: 4 * 1024 * 1024 },
  storage: {
    tailBytes: 16 * 1024 * 1024,
    blockCacheBytes: 8 * 1024 * 1024,
    indexCacheBytes: 4 * 1024 * 1024,
  },
  log: { level: 'error' },
};

export interface SoakOptions {
  readonly durationMs: number;
  readonly sampleMs: number;
  /** The parts of the load. Default all. */
  readonly workloads?: readonly Workload[];
  readonly onSample?: (sample: Sample) => void;
}

/** What a soak has seen. */
export interface SoakRun {
  readonly samples: readonly Sample[];
  readonly end: SoakEnd;
  /** Clients that got on at least once. */
  readonly clients: readonly string[];
  /** Messages that came more than once where at least once is promised. */
  readonly twice: number;
}

/** Runs the mixed load against a server process of its own, and looks at it at intervals. */
export async function runSoak(options: SoakOptions): Promise<SoakRun> {
  const memory = new LiveMemory();
  try {
    return await runWith(memory, options);
  } finally {
    memory.dispose();
  }
}

async function runWith(
  memory: LiveMemory,
  { durationMs, sampleMs, workloads = allWorkloads, onSample }: SoakOptions,
): Promise<SoakRun> {
  const env = { NODE_OPTIONS: memory.nodeOption };
  const server = await ServerProcess.start({ config, env, startTimeoutMs });
  const ledger = new Ledger();
  const expected = new Map<string, { at: number; gotOn: boolean }>();
  const problems: string[] = [];
  const stopping = new AbortController();
  // Each part of the load waits for it.
  setMaxListeners(100, stopping.signal);
  const context = {
    server,
    ledger,
    loops: new Loops(),
    signal: stopping.signal,
    expect: (client: string): void => {
      if (!expected.has(client)) expected.set(client, { at: performance.now(), gotOn: false });
    },
    progress: (client: string): void => void expected.set(client, { at: performance.now(), gotOn: true }),
    problem: (text: string): void => {
      if (problems.length < problemsMax) problems.push(text);
    },
  };
  const samples: Sample[] = [];
  try {
    await adminRequest(server, 'PATCH', '/api/v1/topics/mqtt', { config: { 'segment.bytes': '1048576' } });
    const from = performance.now();
    const running = workloads.map((workload: Workload) =>
      workload(context).catch((error: unknown) => context.problem(String(error))),
    );
    while (performance.now() - from < durationMs) {
      await delay(Math.min(sampleMs, Math.max(1, durationMs - (performance.now() - from))));
      const now = performance.now();
      const stuck = [...expected].filter(([, { at }]) => now - at > stuckMs).map(([client]) => client);
      const { acknowledged, delivered } = ledger;
      const sample = {
        atMs: now - from,
        ...(await sampleServer(server, collects(now - from, durationMs, sampleMs) ? memory : null)),
        stuck,
        acknowledged,
        delivered,
      };
      samples.push(sample);
      onSample?.(sample);
    }
    stopping.abort();
    await Promise.all(running);
  } catch (error) {
    // Without its server, a load has no more to say.
    stopping.abort();
    context.problem(String(error));
  }
  const { code, signal, stderr } = await server.stop();
  if (code !== 0) context.problem(`the server ended with ${code ?? signal}`);
  if (stderr !== '') context.problem(stderr.slice(0, 2000));
  await server[Symbol.asyncDispose]();
  const clients = [...expected].filter(([, { gotOn }]) => gotOn).map(([client]) => client);
  const idle = [...expected.keys()].filter((client) => !clients.includes(client));
  const end = { lost: ledger.missing(), repeated: ledger.repeated, idle, errors: problems };
  return { samples, end, clients, twice: ledger.twice };
}
