import { isDeepStrictEqual } from 'node:util';
import { RobustError } from '@robustmq/core';
import { encodePacket, PacketCollector, PacketReader } from '@robustmq/mqtt-codec';
import type { Packet, PeerRole, ProtocolVersion } from '@robustmq/mqtt-codec';
import { codecTarget } from './codec-target.ts';
import { clientConnections, clientPackets, mqttGrammar, serverPackets } from './mqtt-traffic.ts';
import { chunksOf } from './mutation.ts';
import type { FuzzTarget } from './target.ts';

const versions = [3, 4, 5] as const;
/** Sequences up to this are also read byte by byte. */
const byteWiseMax = 96;
const maxPacketBytes = 64 * 1024;

interface Outcome {
  readonly packets: Packet[];
  /** The version that was spoken in the end. */
  readonly version: ProtocolVersion | 0;
  /** How the stream was refused, or how much of it waits for more. */
  readonly end: string | number;
}

/** Readers of what clients send from CONNECT on, of later packets, and of what servers send, in all versions. */
export function mqttCodecTargets(): FuzzTarget[] {
  const connections = versions.flatMap(clientConnections);
  return [
    readerTarget('mqtt connections', 'server', 0, connections),
    ...versions.map((version) =>
      readerTarget(`mqtt ${version} packets`, 'server', version, clientPackets(version)),
    ),
    ...versions.map((version) =>
      readerTarget(`mqtt ${version} answers`, 'client', version, serverPackets(version)),
    ),
  ];
}

function readerTarget(
  name: string,
  role: PeerRole,
  version: ProtocolVersion | 0,
  traffic: readonly (readonly Buffer[])[],
): FuzzTarget {
  return codecTarget({
    name,
    share: version === 0 ? 3 : 1,
    grammar: mqttGrammar,
    traffic,
    decode(packets, script, budget) {
      const bytes = Buffer.concat(packets);
      const whole = budget.spend(bytes.length, () => outcomeOf(role, version, [bytes]));
      const ways = [chunksOf(bytes, script.cuts)];
      if (bytes.length <= byteWiseMax) ways.push(Array.from(bytes, (_, at) => bytes.subarray(at, at + 1)));
      for (const chunks of ways) {
        if (!isDeepStrictEqual(outcomeOf(role, version, chunks), whole)) {
          throw new Error(`read otherwise in ${chunks.length} chunks`);
        }
      }
      checkEncoding(role, version, whole);
    },
  });
}

/** What was read is also what is read from its own encoding. */
function checkEncoding(
  role: PeerRole,
  version: ProtocolVersion | 0,
  { packets, version: spoken }: Outcome,
): void {
  if (packets.length === 0 || spoken === 0) return;
  const again = outcomeOf(role, version, [
    Buffer.concat(packets.map((packet) => encodePacket(spoken, packet))),
  ]);
  if (!isDeepStrictEqual(again, { packets, version: spoken, end: 0 })) {
    throw new Error(`encoded otherwise than it was read: ${JSON.stringify([packets, again])}`);
  }
}

function outcomeOf(role: PeerRole, version: ProtocolVersion | 0, chunks: readonly Buffer[]): Outcome {
  const reader = new PacketReader({ role, maxPacketBytes });
  if (version !== 0) reader.version = version;
  const collector = new PacketCollector();
  let end: string | number;
  try {
    for (const chunk of chunks) reader.push(chunk, collector);
    end = reader.heldBytes;
  } catch (error) {
    if (!(error instanceof RobustError) || !error.code.startsWith('MQTT_')) throw error;
    end = `${error.code} ${String(error.detail['reasonCode'])}`;
  }
  return { packets: collector.packets, version: reader.version, end };
}
