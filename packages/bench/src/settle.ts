import { spawnSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { cpuSeconds } from './process-stat.ts';

const pollMs = 200;
const polls = 25;
/** A server this busy still does work that earlier loads caused. */
const settledBusy = 0.06;

/** Waits until earlier writes have reached the disk and the servers are idle, for at most some seconds. */
export async function settle(pids: readonly number[]): Promise<void> {
  spawnSync('sync', { stdio: 'ignore' });
  let last = cpuSeconds(pids);
  for (let poll = 0; poll < polls && last !== null; poll++) {
    await delay(pollMs);
    const now = cpuSeconds(pids);
    if (now === null || (now - last) / (pollMs / 1000) <= settledBusy) return;
    last = now;
  }
}
