export {
  encodeAck,
  shortAckBytesMax,
  writePuback,
  writePubcomp,
  writePubrec,
  writePubrel,
} from './ack-codec.ts';
export { encodeAuth } from './auth-codec.ts';
export { encodeConnack, encodeUnsupportedVersion } from './connack-codec.ts';
export { encodeConnect, identityBytesMax, passwordBytesMax } from './connect-codec.ts';
export { encodeDisconnect } from './disconnect-codec.ts';
export type { MqttCodecErrorCode } from './error.ts';
export type { PeerRole } from './fixed-header.ts';
export type {
  AckKind,
  AckPacket,
  AuthPacket,
  ConnackPacket,
  ConnectPacket,
  ControlPacket,
  DisconnectPacket,
  Packet,
  PingreqPacket,
  PingrespPacket,
  ProtocolVersion,
  PublishPacket,
  Qos,
  SubackPacket,
  SubscribePacket,
  Subscription,
  UnsubackPacket,
  UnsubscribePacket,
  Will,
} from './packet.ts';
export type { AnswerPacket } from './packet-encoder.ts';
export { encodePacket, encodeWithin, pingreqBytes, pingrespBytes } from './packet-encoder.ts';
export { PacketCollector } from './packet-collector.ts';
export type { PacketReaderOptions, PacketSink } from './packet-reader.ts';
export { PacketReader } from './packet-reader.ts';
export type {
  AuthProperties,
  ConnackProperties,
  ConnectProperties,
  DisconnectProperties,
  Properties,
  PublishProperties,
  ReasonProperties,
  SubscribeProperties,
  UnsubscribeProperties,
  UserProperty,
  WillProperties,
} from './property.ts';
export { propertyId } from './property.ts';
export { userPropertiesMax, userPropertyBytesMax } from './property-scanner.ts';
export type { PublishView } from './publish-view.ts';
export type { PublishFrame, PublishTemplate } from './publish-writer.ts';
export {
  createPublishTemplate,
  encodePublish,
  encodePublishProperties,
  packetIdPosition,
  patchPacketId,
  publishFirstByte,
  publishHeadSize,
  publishSize,
  writePublish,
  writePublishHead,
  writeTemplate,
} from './publish-writer.ts';
export { connectReturnCode, connectReturnCodeOf, reasonCode } from './reason-code.ts';
export {
  encodeSuback,
  encodeSubscribe,
  encodeUnsuback,
  encodeUnsubscribe,
  filtersPerPacketMax,
} from './subscribe-codec.ts';
export { isSafeText } from './text.ts';
export type { SharedFilter, TopicProblem } from './topic.ts';
export {
  parseSharedFilter,
  topicBytesMax,
  topicLevelsMax,
  validateTopicFilter,
  validateTopicName,
} from './topic.ts';
export { TopicCache } from './topic-cache.ts';
export { varintMax, varintSize, writeVarint } from './varint.ts';
