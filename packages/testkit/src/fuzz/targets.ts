import { kafkaCodecTargets } from './kafka-codec-targets.ts';
import { mqttCodecTargets } from './mqtt-codec-targets.ts';
import { recordTarget } from './record-target.ts';
import { serverTargets } from './server-targets.ts';
import type { FuzzTarget } from './target.ts';
import { walTarget } from './wal-target.ts';

/** Every decoder of bytes that others wrote, in this process. */
export async function codecTargets(): Promise<FuzzTarget[]> {
  return [...mqttCodecTargets(), ...kafkaCodecTargets(), await recordTarget(), await walTarget()];
}

/** All decoders, and the listeners of a server. */
export async function allTargets(): Promise<FuzzTarget[]> {
  return [...(await codecTargets()), ...(await serverTargets())];
}

/** How many of `sequences` each target gets, by their shares: all of them in sum, unless there are more targets. */
export function shared(sequences: number, targets: readonly FuzzTarget[]): number[] {
  const all = targets.reduce((sum, { share }) => sum + share, 0);
  const parts = targets.map(({ share }) => Math.max(1, Math.floor((sequences * share) / all)));
  // What rounding has left, or has given too much, is the largest one's.
  const largest = parts.indexOf(Math.max(...parts));
  const sum = parts.reduce((total, part) => total + part, 0);
  if (largest !== -1) parts[largest] = Math.max(1, parts[largest]! + sequences - sum);
  return parts;
}
