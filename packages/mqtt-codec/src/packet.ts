import type {
  AuthProperties,
  ConnackProperties,
  ConnectProperties,
  DisconnectProperties,
  PublishProperties,
  ReasonProperties,
  SubscribeProperties,
  UnsubscribeProperties,
  WillProperties,
} from './property.ts';

/** Protocol level on the wire: MQTT 3.1, 3.1.1 and 5.0. */
export type ProtocolVersion = 3 | 4 | 5;

/** Quality of service. */
export type Qos = 0 | 1 | 2;

/** Packet types, the upper four bits of the first byte. */
export const packetType = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
  auth: 15,
} as const;

/** The message that a server publishes when a connection ends badly. */
export interface Will {
  topic: string;
  payload: Buffer;
  qos: Qos;
  retain: boolean;
  properties: WillProperties;
}

/** First packet of a client. */
export interface ConnectPacket {
  type: 'connect';
  version: ProtocolVersion;
  /** Clean Session before MQTT 5. */
  cleanStart: boolean;
  /** Seconds; 0 = none. */
  keepAlive: number;
  /** May be empty: whether that is acceptable is the server's decision. */
  clientId: string;
  username: string | null;
  password: Buffer | null;
  will: Will | null;
  properties: ConnectProperties;
}

/** Answer to CONNECT. */
export interface ConnackPacket {
  type: 'connack';
  sessionPresent: boolean;
  /** A reason code; decoded from MQTT 3 it is that version's return code. */
  reasonCode: number;
  properties: ConnackProperties;
}

/** A PUBLISH as a value, for clients and tests. Servers read `PublishView` and write `PublishFrame`. */
export interface PublishPacket {
  type: 'publish';
  qos: Qos;
  retain: boolean;
  dup: boolean;
  /** 0 at QoS 0. */
  packetId: number;
  topic: string;
  payload: Uint8Array;
  properties: PublishProperties;
}

/** The four acknowledgements of QoS 1 and 2. */
export type AckKind = 'puback' | 'pubrec' | 'pubrel' | 'pubcomp';

/** An acknowledgement as a value; `sink.ack` gets its parts instead. */
export interface AckPacket {
  type: AckKind;
  packetId: number;
  reasonCode: number;
  properties: ReasonProperties;
}

/** One filter of a SUBSCRIBE. Before MQTT 5 only filter and QoS are sent. */
export interface Subscription {
  /** As sent, with `$share/group/` if it is shared. */
  filter: string;
  qos: Qos;
  noLocal: boolean;
  retainAsPublished: boolean;
  retainHandling: 0 | 1 | 2;
}

/** Asks for subscriptions: at least one, at most `filtersPerPacketMax`. */
export interface SubscribePacket {
  type: 'subscribe';
  packetId: number;
  subscriptions: Subscription[];
  properties: SubscribeProperties;
}

/** One code for each filter of a SUBSCRIBE, in its order. */
export interface SubackPacket {
  type: 'suback';
  packetId: number;
  reasonCodes: number[];
  properties: ReasonProperties;
}

/** Ends subscriptions. */
export interface UnsubscribePacket {
  type: 'unsubscribe';
  packetId: number;
  filters: string[];
  properties: UnsubscribeProperties;
}

/** Answer to UNSUBSCRIBE. */
export interface UnsubackPacket {
  type: 'unsuback';
  packetId: number;
  /** Empty before MQTT 5. */
  reasonCodes: number[];
  properties: ReasonProperties;
}

/** Sign of life of a client. */
export interface PingreqPacket {
  type: 'pingreq';
}

/** Answer to PINGREQ. */
export interface PingrespPacket {
  type: 'pingresp';
}

/** Last packet of either side; before MQTT 5 of a client only. */
export interface DisconnectPacket {
  type: 'disconnect';
  /** 0 before MQTT 5. */
  reasonCode: number;
  properties: DisconnectProperties;
}

/** A step of enhanced authentication. */
export interface AuthPacket {
  type: 'auth';
  reasonCode: number;
  properties: AuthProperties;
}

/** What `sink.packet` gets: everything but PUBLISH and its acknowledgements. Packets own their memory. */
export type ControlPacket =
  | ConnectPacket
  | ConnackPacket
  | SubscribePacket
  | SubackPacket
  | UnsubscribePacket
  | UnsubackPacket
  | PingreqPacket
  | PingrespPacket
  | DisconnectPacket
  | AuthPacket;

/** Any packet as a value. */
export type Packet = ControlPacket | PublishPacket | AckPacket;
