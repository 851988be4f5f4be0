import type { PeerName } from './options.ts';
import { debianCommand, findCommand } from './targets/command.ts';
import { kafkaSpec } from './targets/kafka.ts';
import { natsSpec } from './targets/nats.ts';
import { aedesSpec, echoSpec, mosquittoSpec } from './targets/specs.ts';
import type { TargetSpec } from './targets/target.ts';
import type { SkippedPeer } from './verdict.ts';

export interface FoundPeers {
  readonly specs: readonly TargetSpec[];
  readonly skipped: readonly SkippedPeer[];
}

/** Finds the peers that were asked for, or says why one cannot be had; `cache` keeps what has to be fetched. */
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
    case 'nats':
      return natsSpec(debianCommand('nats-server', cache));
    case 'echo':
      return echoSpec();
    case 'kafka':
      return kafkaSpec(cache, false);
    case 'kafka-fsync':
      return kafkaSpec(cache, true);
  }
}
