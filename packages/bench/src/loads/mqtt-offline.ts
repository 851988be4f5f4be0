import { Fault } from '../fault.ts';
import type { LoadResult, OfflineJob } from '../job.ts';
import { drain } from '../measure.ts';
import { cpuSeconds } from '../process-stat.ts';
import { inTurns } from './in-turns.ts';
import { MqttLink } from './mqtt-link.ts';
import { filtersOf, OfflineBacklog } from './offline-backlog.ts';
import { ReturningSession } from './returning-session.ts';

const patienceMs = 20_000;

/** Sessions subscribe and leave, others publish, the sessions come back: how long until each has what is its own. */
export async function runOffline(job: OfflineJob): Promise<LoadResult> {
  const fault = new Fault();
  const sessions: ReturningSession[] = [];
  try {
    await leaveSessions(job);
    await new OfflineBacklog(job).publish();
    const before = cpuSeconds(job.pids);
    const own = process.cpuUsage();
    const startedAtMs = performance.now();
    const opened = inTurns(job.sessions, async (index) => {
      const session = new ReturningSession(job, index);
      sessions.push(session);
      await session.open(fault);
    });
    const arrived = () => sessions.reduce((sum, session) => sum + session.arrived, 0);
    const expected = job.sessions * job.own;
    await fault.race(opened);
    await fault.race(drain(() => arrived() >= expected, arrived, patienceMs));
    const seconds = (performance.now() - startedAtMs) / 1000;
    const after = cpuSeconds(job.pids);
    const { user, system } = process.cpuUsage(own);
    const waits = sessions.map((session) => session.servedMs()).sort((a, b) => a - b);
    const lastMs = Math.max(...sessions.map((session) => session.lastAtMs));
    return {
      seconds,
      count: arrived(),
      bytes: arrived() * job.payloadBytes,
      serverCpuSeconds: before === null || after === null ? null : after - before,
      generatorCpuSeconds: (user + system) / 1e6,
      expected,
      arrived: arrived(),
      disordered: sessions.reduce((sum, session) => sum + session.repeated, 0),
      servedMs: job.sessions === 1 ? waits[0] : lastMs - startedAtMs,
      note: noteOf(waits, before === null || after === null ? null : after - before),
    };
  } finally {
    fault.close();
    for (const session of sessions) session.close();
  }
}

/** Makes the sessions, with both filters each, and ends their connections. */
async function leaveSessions(job: OfflineJob): Promise<void> {
  const fault = new Fault();
  try {
    await inTurns(job.sessions, async (index) => {
      const clientId = `${job.prefix}-away-${index}`;
      const link = await MqttLink.open({ endpoint: job.endpoint, fault, clientId, keepsSession: true });
      for (const filter of filtersOf(job, index)) await link.subscribe(filter, 1);
      link.leave();
    });
  } finally {
    fault.close();
  }
}

function noteOf(waits: readonly number[], serverSeconds: number | null): string {
  const at = (share: number) => (waits[Math.floor((waits.length - 1) * share)] as number).toFixed(0);
  const spread = `from a session's CONNACK to its last message: median ${at(0.5)} ms, longest ${at(1)} ms`;
  return serverSeconds === null ? spread : `${spread}; ${(serverSeconds * 1000).toFixed(0)} ms of server CPU`;
}
