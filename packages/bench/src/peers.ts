import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { PeerName } from './options.ts';
import { kafkaSpec } from './targets/kafka.ts';
import { aedesSpec, echoSpec, mosquittoSpec } from './targets/specs.ts';
import type { TargetSpec } from './targets/target.ts';

/** A peer that this machine cannot run, and why. */
export interface SkippedPeer {
  readonly name: string;
  readonly reason: string;
}

export interface FoundPeers {
  readonly specs: readonly TargetSpec[];
  readonly skipped: readonly SkippedPeer[];
}

/** Finds the peers that were asked for; `cache` keeps what has to be fetched. */
export function findPeers(names: readonly PeerName[], cache: string): FoundPeers {
  const specs: TargetSpec[] = [];
  const skipped: SkippedPeer[] = [];
  for (const name of names) {
    try {
      specs.push(findPeer(name, cache));
    } catch (error) {
      skipped.push({ name, reason: error instanceof Error ? error.message : String(error) });
    }
  }
  return { specs, skipped };
}

function findPeer(name: PeerName, cache: string): TargetSpec {
  switch (name) {
    case 'mosquitto':
      return mosquittoSpec(findCommand('mosquitto'));
    case 'aedes':
      import.meta.resolve('aedes');
      return aedesSpec();
    case 'echo':
      return echoSpec();
    case 'kafka':
      return kafkaSpec(cache, false);
    case 'kafka-fsync':
      return kafkaSpec(cache, true);
  }
}

/** Distributions put servers into sbin, which is not on everybody's path. */
function findCommand(name: string): string {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  const folder = folders.find((each) => each !== '' && existsSync(join(each, name)));
  if (folder === undefined) throw new Error(`no command ${name} on this machine`);
  return join(folder, name);
}
