/** Reason codes of MQTT 5 (section 2.4). 0x00 has one name per packet in the specification; here it is `success`. */
export const reasonCode = {
  success: 0x00,
  grantedQos1: 0x01,
  grantedQos2: 0x02,
  disconnectWithWill: 0x04,
  noMatchingSubscribers: 0x10,
  noSubscriptionExisted: 0x11,
  continueAuthentication: 0x18,
  reAuthenticate: 0x19,
  unspecifiedError: 0x80,
  malformedPacket: 0x81,
  protocolError: 0x82,
  implementationSpecificError: 0x83,
  unsupportedProtocolVersion: 0x84,
  clientIdentifierNotValid: 0x85,
  badUserNameOrPassword: 0x86,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  banned: 0x8a,
  serverShuttingDown: 0x8b,
  badAuthenticationMethod: 0x8c,
  keepAliveTimeout: 0x8d,
  sessionTakenOver: 0x8e,
  topicFilterInvalid: 0x8f,
  topicNameInvalid: 0x90,
  packetIdentifierInUse: 0x91,
  packetIdentifierNotFound: 0x92,
  receiveMaximumExceeded: 0x93,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  messageRateTooHigh: 0x96,
  quotaExceeded: 0x97,
  administrativeAction: 0x98,
  payloadFormatInvalid: 0x99,
  retainNotSupported: 0x9a,
  qosNotSupported: 0x9b,
  useAnotherServer: 0x9c,
  serverMoved: 0x9d,
  sharedSubscriptionsNotSupported: 0x9e,
  connectionRateExceeded: 0x9f,
  maximumConnectTime: 0xa0,
  subscriptionIdentifiersNotSupported: 0xa1,
  wildcardSubscriptionsNotSupported: 0xa2,
} as const;

/** Return codes of CONNACK in MQTT 3.1 and 3.1.1. */
export const connectReturnCode = {
  accepted: 0,
  unacceptableProtocolVersion: 1,
  identifierRejected: 2,
  serverUnavailable: 3,
  badUserNameOrPassword: 4,
  notAuthorized: 5,
} as const;

/** The return code of MQTT 3 that comes nearest to a reason code of CONNACK. */
export function connectReturnCodeOf(code: number): number {
  switch (code) {
    case reasonCode.success:
      return connectReturnCode.accepted;
    case reasonCode.unsupportedProtocolVersion:
      return connectReturnCode.unacceptableProtocolVersion;
    case reasonCode.clientIdentifierNotValid:
      return connectReturnCode.identifierRejected;
    case reasonCode.badUserNameOrPassword:
    case reasonCode.badAuthenticationMethod:
      return connectReturnCode.badUserNameOrPassword;
    case reasonCode.notAuthorized:
    case reasonCode.banned:
      return connectReturnCode.notAuthorized;
    default:
      return connectReturnCode.serverUnavailable;
  }
}

function table(...codes: readonly number[]): Uint8Array {
  const allowed = new Uint8Array(256);
  for (const code of codes) allowed[code] = 1;
  return allowed;
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

const publishAnswers = table(0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99);
const releaseAnswers = table(0x00, 0x92);
const disconnectByBoth = [0x00, ...range(0x80, 0x83), 0x90, ...range(0x93, 0x99)];

/** Which codes a packet may carry, as 256 flags. */
export const allowedReasonCodes = {
  puback: publishAnswers,
  pubrec: publishAnswers,
  pubrel: releaseAnswers,
  pubcomp: releaseAnswers,
  connack: table(0x00, ...range(0x80, 0x8a), 0x8c, 0x90, 0x95, 0x97, 0x99, ...range(0x9a, 0x9d), 0x9f),
  suback: table(0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2),
  unsuback: table(0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91),
  disconnectFromClient: table(...disconnectByBoth, 0x04),
  disconnectFromServer: table(
    ...disconnectByBoth,
    0x87,
    0x89,
    0x8b,
    ...range(0x8d, 0x8f),
    ...range(0x9a, 0xa2),
  ),
  authFromClient: table(0x18, 0x19),
  authFromServer: table(0x00, 0x18),
} as const;
