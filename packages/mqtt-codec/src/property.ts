/** A user property as it came: order and repetitions count (MQTT-3.3.2-18). */
export type UserProperty = [name: string, value: string];

/** Every property of MQTT 5 (section 2.2.2.2). Absent means not sent. Intervals are seconds. */
export interface Properties {
  payloadFormat?: number;
  messageExpiry?: number;
  contentType?: string;
  responseTopic?: string;
  correlationData?: Uint8Array;
  subscriptionIdentifiers?: number[];
  sessionExpiry?: number;
  assignedClientId?: string;
  serverKeepAlive?: number;
  authenticationMethod?: string;
  authenticationData?: Uint8Array;
  requestProblemInformation?: boolean;
  willDelay?: number;
  requestResponseInformation?: boolean;
  responseInformation?: string;
  serverReference?: string;
  reasonString?: string;
  receiveMaximum?: number;
  topicAliasMaximum?: number;
  topicAlias?: number;
  maximumQos?: number;
  retainAvailable?: boolean;
  userProperties?: UserProperty[];
  maximumPacketSize?: number;
  wildcardSubscriptionsAvailable?: boolean;
  subscriptionIdentifiersAvailable?: boolean;
  sharedSubscriptionsAvailable?: boolean;
}

type PropertyName = keyof Properties;

/** What most answers may carry. */
export type ReasonProperties = Pick<Properties, 'reasonString' | 'userProperties'>;
/** CONNECT. */
export type ConnectProperties = Pick<
  Properties,
  | 'sessionExpiry'
  | 'receiveMaximum'
  | 'maximumPacketSize'
  | 'topicAliasMaximum'
  | 'requestResponseInformation'
  | 'requestProblemInformation'
  | 'userProperties'
  | 'authenticationMethod'
  | 'authenticationData'
>;
/** CONNACK. */
export type ConnackProperties = ReasonProperties &
  Pick<
    Properties,
    | 'sessionExpiry'
    | 'receiveMaximum'
    | 'maximumQos'
    | 'retainAvailable'
    | 'maximumPacketSize'
    | 'assignedClientId'
    | 'topicAliasMaximum'
    | 'wildcardSubscriptionsAvailable'
    | 'subscriptionIdentifiersAvailable'
    | 'sharedSubscriptionsAvailable'
    | 'serverKeepAlive'
    | 'responseInformation'
    | 'serverReference'
    | 'authenticationMethod'
    | 'authenticationData'
  >;
/** PUBLISH; `subscriptionIdentifiers` only from a server. */
export type PublishProperties = Pick<
  Properties,
  | 'payloadFormat'
  | 'messageExpiry'
  | 'topicAlias'
  | 'responseTopic'
  | 'correlationData'
  | 'userProperties'
  | 'subscriptionIdentifiers'
  | 'contentType'
>;
/** The will in CONNECT. */
export type WillProperties = Pick<
  Properties,
  | 'willDelay'
  | 'payloadFormat'
  | 'messageExpiry'
  | 'contentType'
  | 'responseTopic'
  | 'correlationData'
  | 'userProperties'
>;
/** SUBSCRIBE; `subscriptionIdentifiers` has one element here. */
export type SubscribeProperties = Pick<Properties, 'subscriptionIdentifiers' | 'userProperties'>;
/** UNSUBSCRIBE. */
export type UnsubscribeProperties = Pick<Properties, 'userProperties'>;
/** DISCONNECT; `sessionExpiry` only from a client, `serverReference` only from a server. */
export type DisconnectProperties = ReasonProperties & Pick<Properties, 'sessionExpiry' | 'serverReference'>;
/** AUTH. */
export type AuthProperties = ReasonProperties &
  Pick<Properties, 'authenticationMethod' | 'authenticationData'>;

/** Where a property section stands, as bits: the will has its own, and two packets differ by their sender. */
export const place = {
  connect: 1 << 0,
  connack: 1 << 1,
  publishFromClient: 1 << 2,
  publishFromServer: 1 << 3,
  will: 1 << 4,
  ack: 1 << 5,
  subscribe: 1 << 6,
  suback: 1 << 7,
  unsubscribe: 1 << 8,
  unsuback: 1 << 9,
  disconnectFromClient: 1 << 10,
  disconnectFromServer: 1 << 11,
  auth: 1 << 12,
} as const;

/** Value types; `flag` is a byte of 0 or 1. */
export type PropertyKind = 'flag' | 'u8' | 'u16' | 'u32' | 'varint' | 'text' | 'binary' | 'pair';

export interface PropertyDefinition {
  readonly id: number;
  readonly name: PropertyName;
  readonly kind: PropertyKind;
  /** Bits of `place`. */
  readonly places: number;
}

export const propertyId = {
  payloadFormat: 0x01,
  messageExpiry: 0x02,
  contentType: 0x03,
  responseTopic: 0x08,
  correlationData: 0x09,
  subscriptionIdentifier: 0x0b,
  authenticationMethod: 0x15,
  receiveMaximum: 0x21,
  topicAlias: 0x23,
  maximumQos: 0x24,
  userProperty: 0x26,
  maximumPacketSize: 0x27,
} as const;

const publish = place.publishFromClient | place.publishFromServer;
const disconnect = place.disconnectFromClient | place.disconnectFromServer;
const answers = place.connack | place.ack | place.suback | place.unsuback | disconnect | place.auth;
const handshake = place.connect | place.connack;
const everywhere = answers | place.connect | publish | place.will | place.subscribe | place.unsubscribe;

const rows: readonly (readonly [number, PropertyName, PropertyKind, number])[] = [
  [0x01, 'payloadFormat', 'u8', publish | place.will],
  [0x02, 'messageExpiry', 'u32', publish | place.will],
  [0x03, 'contentType', 'text', publish | place.will],
  [0x08, 'responseTopic', 'text', publish | place.will],
  [0x09, 'correlationData', 'binary', publish | place.will],
  [0x0b, 'subscriptionIdentifiers', 'varint', place.publishFromServer | place.subscribe],
  [0x11, 'sessionExpiry', 'u32', handshake | place.disconnectFromClient],
  [0x12, 'assignedClientId', 'text', place.connack],
  [0x13, 'serverKeepAlive', 'u16', place.connack],
  [0x15, 'authenticationMethod', 'text', handshake | place.auth],
  [0x16, 'authenticationData', 'binary', handshake | place.auth],
  [0x17, 'requestProblemInformation', 'flag', place.connect],
  [0x18, 'willDelay', 'u32', place.will],
  [0x19, 'requestResponseInformation', 'flag', place.connect],
  [0x1a, 'responseInformation', 'text', place.connack],
  [0x1c, 'serverReference', 'text', place.connack | place.disconnectFromServer],
  [0x1f, 'reasonString', 'text', answers],
  [0x21, 'receiveMaximum', 'u16', handshake],
  [0x22, 'topicAliasMaximum', 'u16', handshake],
  [0x23, 'topicAlias', 'u16', publish],
  [0x24, 'maximumQos', 'u8', place.connack],
  [0x25, 'retainAvailable', 'flag', place.connack],
  [0x26, 'userProperties', 'pair', everywhere],
  [0x27, 'maximumPacketSize', 'u32', handshake],
  [0x28, 'wildcardSubscriptionsAvailable', 'flag', place.connack],
  [0x29, 'subscriptionIdentifiersAvailable', 'flag', place.connack],
  [0x2a, 'sharedSubscriptionsAvailable', 'flag', place.connack],
];

/** All properties in the order of their ids. */
export const propertyDefinitions: readonly PropertyDefinition[] = rows.map(([id, name, kind, places]) => ({
  id,
  name,
  kind,
  places,
}));

/** By id; undefined where the specification defines none. All ids are below 64. */
export const propertyById: readonly (PropertyDefinition | undefined)[] = Array.from({ length: 64 }, (_, id) =>
  propertyDefinitions.find((definition) => definition.id === id),
);
