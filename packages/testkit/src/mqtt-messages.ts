import type { PublishPacket, Qos } from '@robustmq/mqtt-codec';
import type { MqttClient } from './mqtt-client.ts';

let count = 0;

/** A tree of names that no other test uses. */
export function tree(): string {
  return `t${++count}`;
}

/** The payload of a message, as text. */
export function text(message: PublishPacket): string {
  return Buffer.from(message.payload).toString();
}

/** Publishes, and waits for the end of the exchange. */
export async function publish(
  client: MqttClient,
  topic: string,
  payload: string,
  qos: Qos = 1,
  retain = false,
): Promise<void> {
  client.publish({ topic, payload, qos, retain, packetId: qos === 0 ? 0 : 1 });
  if (qos === 1) await client.next('puback');
  if (qos === 0) await client.settled();
  if (qos < 2) return;
  await client.next('pubrec');
  client.ack('pubrel', 1);
  await client.next('pubcomp');
}

/** Everything that comes, to its end, until `enough` says so and nothing more is there. */
export async function all(
  client: MqttClient,
  enough: (messages: readonly PublishPacket[]) => boolean = () => true,
): Promise<PublishPacket[]> {
  const messages: PublishPacket[] = [];
  const deadline = performance.now() + 5000;
  for (;;) {
    const packets = await client.settled();
    if (packets.length === 0) {
      if (enough(messages) || performance.now() > deadline) return messages;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    for (const packet of packets) {
      if (packet.type === 'pubrel') client.ack('pubcomp', packet.packetId);
      if (packet.type !== 'publish') continue;
      messages.push(packet);
      if (packet.qos === 1) client.ack('puback', packet.packetId);
      if (packet.qos === 2) client.ack('pubrec', packet.packetId);
    }
  }
}
