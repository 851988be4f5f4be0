import type { AckKind, ControlPacket, Packet, Qos } from './packet.ts';
import type { PacketSink } from './packet-reader.ts';
import type { ReasonProperties } from './property.ts';
import type { PublishView } from './publish-view.ts';

/** A sink that keeps every packet as a value of its own; for simple clients and tests, not for a server. */
export class PacketCollector implements PacketSink {
  readonly packets: Packet[] = [];

  publish(view: PublishView): void {
    this.packets.push({
      type: 'publish',
      qos: view.qos as Qos,
      retain: view.retain,
      dup: view.dup,
      packetId: view.packetId,
      topic: view.topic(),
      payload: Buffer.from(view.payload()),
      properties: view.properties(),
    });
  }

  ack(type: AckKind, packetId: number, reasonCode: number, properties: ReasonProperties | null): void {
    this.packets.push({ type, packetId, reasonCode, properties: properties ?? {} });
  }

  packet(packet: ControlPacket): void {
    this.packets.push(packet);
  }
}
