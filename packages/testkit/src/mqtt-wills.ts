import type { Will } from '@robustmq/mqtt-codec';
import type { SimClock } from '@robustmq/sim';
import type { MqttClient } from './mqtt-client.ts';
import { all, text } from './mqtt-messages.ts';

/** A will of which a test names what matters. */
export function will(input: Partial<Will> = {}): Will {
  return { topic: 'will/t', payload: Buffer.from('gone'), qos: 1, retain: false, properties: {}, ...input };
}

/** A will with a delay, in seconds. */
export function delayed(willDelay: number): Will {
  return will({ properties: { willDelay } });
}

/** Passes virtual time in small steps, so that what falls due can reach the network between. */
export async function pass(clock: SimClock, seconds: number): Promise<void> {
  for (let at = 0; at < seconds * 2; at++) await clock.advance(500);
  await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Messages for the watcher so far, acknowledged. */
export async function willsSeen(watcher: MqttClient): Promise<string[]> {
  return (await all(watcher)).map(text);
}
