import fc from 'fast-check';

/** What a protocol knows of its packets, so that a mutation may damage one part and leave the rest sound. */
export interface Grammar {
  /** A packet whose outer length says how long it is. */
  reframe(packet: Buffer): Buffer;
  /** Makes the checksums within a packet right again, in place. */
  reseal(packet: Buffer): void;
  /** A packet that states one of a few wrong lengths. */
  misstate(packet: Buffer, choice: number): Buffer;
}

const kinds = [
  'flip',
  'byte',
  'int16',
  'int32',
  'int64',
  'varint',
  'insert',
  'remove',
  'cut',
  'repeat',
  'splice',
  'length',
  'drop',
  'duplicate',
  'swap',
  'foreign',
] as const;

/** One damage: its kind, the packet and the place in it as parts of 65536, a value, and whether frames stay sound. */
export type Mutation = readonly [
  kind: (typeof kinds)[number],
  packet: number,
  place: number,
  value: number,
  sound: boolean,
];

/** A sequence of valid traffic by its number, what is done to it, and where the bytes are cut into chunks. */
export interface Script {
  readonly sequence: number;
  readonly mutations: readonly Mutation[];
  readonly cuts: readonly number[];
}

const part = fc.noBias(fc.nat(0xffff));
const mutation: fc.Arbitrary<Mutation> = fc.tuple(
  fc.noBias(fc.constantFrom(...kinds)),
  part,
  part,
  part,
  // What is not framed ends the stream; most damage is to be looked at more closely.
  fc.noBias(fc.nat(3)).map((quarter) => quarter > 0),
);

/** Scripts over `sequences` sequences, with up to `mutationsMax` mutations. */
export function scripts(sequences: number, mutationsMax: number): fc.Arbitrary<Script> {
  return fc
    .tuple(
      fc.noBias(fc.nat(sequences - 1)),
      fc.array(mutation, { maxLength: mutationsMax, size: 'max' }),
      fc.array(part, { maxLength: 4, size: 'max' }),
    )
    .map(([sequence, mutations, cuts]) => ({ sequence, mutations, cuts }));
}

const bytes8 = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, 0x20, 0x2b, 0x23, 0x2f, 0x24];
const bytes16 = [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xfffe, 0xffff];
const bytes32 = [0, 1, 0xff, 0xffff, 0x1_0000, 0x7fff_fffe, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
const bytes64 = ['0', '1', '1fffffffffffff', '20000000000000', '7fffffffffffffff', '8000000000000000', 'ff'];
const varints = [
  '00',
  '01',
  '7f',
  '8001',
  '8000',
  'ff7f',
  'ffff7f',
  'ffffff7f',
  '8080808001',
  'ffffffff0f',
  'ffffffffff01',
  'ffffffffffffffffff01',
  'feffffffffffffffff01',
].map((hex) => Buffer.from(hex, 'hex'));

/** A mutated sequence is cut off here, bytes; `duplicate` and `repeat` multiply. */
const sequenceBytesMax = 512 * 1024;
const packetsMax = 64;

/** Carries out the mutations of a script on a copy of its sequence. */
export function mutate(script: Script, traffic: readonly (readonly Buffer[])[], grammar: Grammar): Buffer[] {
  let packets = traffic[script.sequence % traffic.length]!.slice();
  for (const each of script.mutations) {
    if (packets.length === 0) break;
    packets = applied(packets, each, traffic, grammar).slice(0, packetsMax);
  }
  let bytes = 0;
  return packets.filter((packet) => (bytes += packet.length) <= sequenceBytesMax);
}

function applied(
  packets: Buffer[],
  [kind, packetPart, place, value, sound]: Mutation,
  traffic: readonly (readonly Buffer[])[],
  grammar: Grammar,
): Buffer[] {
  const index = scaled(packetPart, packets.length);
  const packet = packets[index]!;
  const before = packets.slice(0, index);
  const after = packets.slice(index + 1);
  switch (kind) {
    case 'drop':
      return [...before, ...after];
    case 'duplicate':
      return [...before, ...new Array<Buffer>(2 + (value % 3)).fill(packet), ...after];
    case 'swap': {
      const other = scaled(place, packets.length);
      return packets.with(index, packets[other]!).with(other, packet);
    }
    case 'foreign': {
      const from = traffic[value % traffic.length]!;
      return [...before, packet, from[scaled(place, from.length)]!, ...after];
    }
    case 'length':
      return [...before, grammar.misstate(packet, value), ...after];
    case 'splice': {
      const from = traffic[value % traffic.length]!;
      const other = from[value % from.length]!;
      const head = packet.subarray(0, scaled(place, packet.length));
      return [...before, whole(Buffer.concat([head, other.subarray(head.length)]), sound, grammar), ...after];
    }
    default:
      return [...before, whole(damaged(packet, kind, place, value), sound, grammar), ...after];
  }
}

function whole(packet: Buffer, sound: boolean, grammar: Grammar): Buffer {
  if (!sound) return packet;
  const framed = grammar.reframe(packet);
  grammar.reseal(framed);
  return framed;
}

/** A damaged copy; positions are parts of its length. */
function damaged(packet: Buffer, kind: Mutation[0], place: number, value: number): Buffer {
  const at = scaled(place, packet.length);
  const head = packet.subarray(0, at);
  switch (kind) {
    case 'cut':
      return Buffer.from(head);
    case 'insert':
      return Buffer.concat([head, Buffer.alloc(1 + (value % 8), value >> 8), packet.subarray(at)]);
    case 'remove':
      return Buffer.concat([head, packet.subarray(at + 1 + (value % 8))]);
    case 'repeat': {
      const region = packet.subarray(at, at + 1 + (value % 64));
      return Buffer.concat([
        head,
        ...new Array<Buffer>(2 + ((value >> 6) % 4)).fill(region),
        packet.subarray(at),
      ]);
    }
    case 'varint':
      return Buffer.concat([head, varints[value % varints.length]!, packet.subarray(at + 1)]);
    default:
      return overwritten(packet, kind, at, value);
  }
}

function overwritten(packet: Buffer, kind: Mutation[0], at: number, value: number): Buffer {
  const copy = Buffer.from(packet);
  const over = (bytes: Uint8Array): void => copy.set(bytes.subarray(0, copy.length - at), at);
  if (copy.length === 0) return copy;
  if (kind === 'flip') copy[at] = copy[at]! ^ (1 << (value & 7));
  if (kind === 'byte') copy[at] = (value & 0x8000) === 0 ? value : bytes8[value % bytes8.length]!;
  if (kind === 'int16') over(bigEndian(BigInt(bytes16[value % bytes16.length]!), 2));
  if (kind === 'int32') over(bigEndian(BigInt(bytes32[value % bytes32.length]!), 4));
  if (kind === 'int64') over(bigEndian(BigInt(`0x${bytes64[value % bytes64.length]!}`), 8));
  return copy;
}

function bigEndian(value: bigint, bytes: number): Uint8Array {
  return Buffer.from(value.toString(16).padStart(bytes * 2, '0'), 'hex');
}

/** `part` of 65536 of `length`, below it if there is anything. */
function scaled(part: number, length: number): number {
  return Math.floor((part * length) / 0x1_0000);
}

/** The bytes of a sequence, cut where the script says. */
export function chunksOf(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const ends = [...cuts.map((cut) => scaled(cut, bytes.length)), bytes.length].sort((a, b) => a - b);
  return ends.map((end, index) => bytes.subarray(index === 0 ? 0 : ends[index - 1], end));
}
