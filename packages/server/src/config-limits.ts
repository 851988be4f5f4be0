import { z } from 'zod';

const mebibyte = 1024 * 1024;
const whole = (from: number, to: number, fallback: number) =>
  z.number().int().min(from).max(to).default(fallback);
const second = 1000;
const hour = 3600 * second;

/** Bounds of the MQTT listeners; the names are those of the adapter's `MqttLimits`. */
export const mqttLimits = z
  .strictObject({
    connectionsMax: whole(1, 1_000_000, 100_000).describe('Open connections; more are closed at once.'),
    connectTimeoutMs: whole(100, hour, 10 * second).describe('Time until CONNECT has come.'),
    partialPacketMs: whole(100, hour, 30 * second).describe(
      'A connection that does not complete a packet within this time is closed.',
    ),
    connectPacketBytes: whole(1024, 16 * mebibyte, 64 * 1024).describe(
      'Longest CONNECT, its will included: nobody is known yet who sends it.',
    ),
    packetBytesMax: whole(1024, 16 * mebibyte, 2 * mebibyte).describe(
      'Largest packet of a client; what is announced is less where the default topic takes less.',
    ),
    receiveMaximum: whole(1, 65_535, 1024).describe(
      'QoS 1 and 2 publishes of a client that are not acknowledged yet.',
    ),
    inflightMax: whole(1, 65_535, 1024).describe(
      'QoS 1 and 2 messages to a client that it has not acknowledged yet.',
    ),
    topicAliasMaximum: whole(0, 65_535, 32).describe('Topic aliases that a client may set.'),
    subscriptionsMax: whole(1, 1_000_000, 10_000).describe('Subscriptions of a client.'),
    broadSessionsMax: whole(0, 1_000_000, 100).describe(
      'Kept sessions with a filter above QoS 0 that begins with a wildcard.',
    ),
    sessionExpiryMax: whole(0, 0xffff_ffff, 0xffff_ffff).describe(
      'Longest session expiry interval, seconds; 4294967295 is for ever.',
    ),
    sessionsMax: whole(1, 10_000_000, 500_000).describe(
      'Sessions that are kept, with and without a connection; above it new ones are refused.',
    ),
    keepAliveMax: whole(0, 65_535, 3600).describe(
      'Longest keep alive of an MQTT 5 client, seconds, which it is told; 0 takes what the client wants.',
    ),
    unsentBytesMax: whole(4096, 1024 * mebibyte, mebibyte).describe(
      'Unsent bytes of a connection above which it leaves the live path.',
    ),
    stalledMs: whole(second, hour, 60 * second).describe(
      'A connection that stays full for so long is closed.',
    ),
    publishTimeoutMs: whole(second, hour, 20 * second).describe(
      'A publish without an outcome for so long ends its connection.',
    ),
    willRecoveryGraceMs: whole(0, hour, 10 * second).describe(
      'After the death of a process wills wait at least so long for their clients.',
    ),
  })
  .prefault({});

/** Bounds of the Kafka listener. */
export const kafkaLimits = z
  .strictObject({
    connectionsMax: whole(1, 1_000_000, 10_000).describe('Open connections; more are closed at once.'),
    requestBytesMax: whole(64 * 1024, 1024 * mebibyte, 100 * mebibyte).describe('Longest request.'),
    idleMs: whole(second, 24 * hour, 600 * second).describe(
      'A connection without a request for so long is closed.',
    ),
    partialRequestMs: whole(second, hour, 30 * second).describe(
      'A connection that does not complete a request within this time is closed.',
    ),
    stalledMs: whole(second, hour, 60 * second).describe(
      'A connection that takes nothing of what it asked for during this time is closed.',
    ),
    partialBytesMax: whole(mebibyte, 64 * 1024 * mebibyte, 512 * mebibyte).describe(
      'Bytes of incomplete requests, all connections together; beyond it whoever holds most is closed.',
    ),
    unsentBytesMax: whole(mebibyte, 64 * 1024 * mebibyte, 256 * mebibyte).describe(
      'Bytes of answers that clients have not taken; above it a fetch gets one batch.',
    ),
    groupInitialDelayMs: whole(0, 60 * second, 500).describe(
      'How long the first rebalance of an empty group waits for more members.',
    ),
    groupMembersMax: whole(1, 100_000, 10_000).describe('Members of a group.'),
    membersMax: whole(1, 10_000_000, 100_000).describe('Members of all groups together.'),
    groupsMax: whole(1, 10_000_000, 100_000).describe(
      'Groups, those included that have nothing but committed offsets.',
    ),
  })
  .prefault({});

/** Bounds of the whole process, over all listeners. */
export const processLimits = z
  .strictObject({
    connections: z
      .strictObject({
        perSecond: whole(1, 1_000_000, 100).describe(
          'New connections of one address a second, in the long run; more are closed at once. An IPv6 address counts with its /64.',
        ),
        burst: whole(1, 1_000_000, 1000).describe('New connections that one address may open at once.'),
        loopback: z
          .boolean()
          .default(false)
          .describe('Whether connections from this machine are counted as well.'),
      })
      .prefault({}),
    memory: z
      .strictObject({
        bytes: whole(0, Number.MAX_SAFE_INTEGER, 0).describe(
          'Memory that the process may use; 0 takes what the machine, or its control group, has.',
        ),
        pausePercent: whole(1, 100, 70).describe(
          'From this part of it, or of the heap of Node, on, connections that publish are not read.',
        ),
        refusePercent: whole(1, 100, 85).describe(
          'From this part of it on, new connections are refused; the admin listener stays open.',
        ),
      })
      .prefault({}),
  })
  .prefault({});
