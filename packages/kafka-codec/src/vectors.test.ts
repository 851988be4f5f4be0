import { describe, expect, expectTypeOf, test } from 'vitest';
import {
  type Api,
  apiVersions,
  decodeRequest,
  decodeRequestHeader,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  fetch,
  findCoordinator,
  joinGroup,
  metadata,
  offsetCommit,
  produce,
  type RequestInput,
  type RequestOf,
  type ResponseInput,
  type ResponseOf,
  zeroUuid,
} from './index.ts';

// Bytes written by hand from the rules of the protocol, one line per field. `s` is a classic string, `c` a compact
// one, everything else is hexadecimal.

function s(text: string): string {
  return text.length.toString(16).padStart(4, '0') + Buffer.from(text).toString('hex');
}

function c(text: string): string {
  return (text.length + 1).toString(16).padStart(2, '0') + Buffer.from(text).toString('hex');
}

function wire(...parts: string[]): Buffer {
  return Buffer.from(parts.join('').replaceAll(' ', ''), 'hex');
}

function framed(pieces: Buffer[]): Buffer {
  const all = Buffer.concat(pieces);
  expect(all.readInt32BE(0)).toBe(all.length - 4);
  return all.subarray(4);
}

const envelope = { correlationId: 7, clientId: 'me' };

/** The same bytes must decode to the value and be what the value encodes to. */
function requestVector<A extends Api>(
  api: A,
  version: number,
  bytes: Buffer,
  value: RequestInput<A> & Partial<RequestOf<A>>,
): void {
  expect(framed(encodeRequest(api, { ...envelope, version }, value)).toString('hex')).toBe(
    bytes.toString('hex'),
  );
  const header = decodeRequestHeader(bytes);
  expect(header).toMatchObject({ apiKey: api.key, apiVersion: version, ...envelope });
  expect(decodeRequest(api, version, bytes, header.bodyStart)).toMatchObject(value);
}

function responseVector<A extends Api>(
  api: A,
  version: number,
  bytes: Buffer,
  value: ResponseInput<A> & Partial<ResponseOf<A>>,
): void {
  expect(framed(encodeResponse(api, version, 7, value)).toString('hex')).toBe(bytes.toString('hex'));
  expect(decodeResponse(api, version, bytes)).toMatchObject(value);
}

describe('ApiVersions', () => {
  test('version 0', () => {
    requestVector(apiVersions, 0, wire('0012 0000 00000007', s('me')), {});
    responseVector(apiVersions, 0, wire('00000007', '0023', '00000002', '0000 0000 000d', '0012 0000 0004'), {
      errorCode: 35,
      apiKeys: [
        { apiKey: 0, minVersion: 0, maxVersion: 13 },
        { apiKey: 18, minVersion: 0, maxVersion: 4 },
      ],
    });
  });

  test('version 3: flexible, but the response header stays old', () => {
    requestVector(apiVersions, 3, wire('0012 0003 00000007', s('me'), '00', c('lib'), c('1.0'), '00'), {
      clientSoftwareName: 'lib',
      clientSoftwareVersion: '1.0',
    });
    responseVector(
      apiVersions,
      3,
      wire(
        '00000007',
        '0000',
        '02 0012 0000 0004 00',
        '0000000a',
        '02',
        '00 08 02',
        c('f'),
        '0000 0002 00',
        '01 08 0000000000000005',
      ),
      {
        errorCode: 0,
        apiKeys: [{ apiKey: 18, minVersion: 0, maxVersion: 4 }],
        throttleTimeMs: 10,
        supportedFeatures: [{ name: 'f', minVersion: 0, maxVersion: 2 }],
        finalizedFeaturesEpoch: 5,
      },
    );
  });

  test('a version from the future has a readable header and an answer in version 0', () => {
    const header = decodeRequestHeader(wire('0012 0063 00000007', s('me'), 'ffff'));
    expect(header).toMatchObject({ apiKey: 18, apiVersion: 99, ...envelope });
    expect(() => decodeRequest(apiVersions, 99, Buffer.alloc(20), 0)).toThrow(
      expect.objectContaining({ code: 'KAFKA_CODEC_VERSION_UNSUPPORTED' }),
    );
    expect(framed(encodeResponse(apiVersions, 0, 7, { errorCode: 35, apiKeys: [] }))).toEqual(
      wire('00000007 0023 00000000'),
    );
  });
});

describe('Metadata', () => {
  test('version 1', () => {
    requestVector(metadata, 1, wire('0003 0001 00000007', s('me'), 'ffffffff'), { topics: null });
    requestVector(metadata, 1, wire('0003 0001 00000007', s('me'), '00000001', s('t')), {
      topics: [{ name: 't', topicId: zeroUuid }],
    });
    responseVector(
      metadata,
      1,
      wire(
        '00000007',
        '00000001 00000002',
        s('h'),
        '00002384 ffff',
        '00000002',
        '00000001 0000',
        s('t'),
        '01',
        '00000001 0005 00000003 00000002',
        '00000002 00000002 00000004',
        '00000000',
      ),
      {
        brokers: [{ nodeId: 2, host: 'h', port: 9092, rack: null }],
        controllerId: 2,
        topics: [
          {
            errorCode: 0,
            name: 't',
            topicId: zeroUuid,
            isInternal: true,
            partitions: [
              {
                errorCode: 5,
                partitionIndex: 3,
                leaderId: 2,
                leaderEpoch: -1,
                replicaNodes: [2, 4],
                isrNodes: [],
                offlineReplicas: [],
              },
            ],
            topicAuthorizedOperations: -2147483648,
          },
        ],
      },
    );
  });

  test('version 12: topic ids', () => {
    const id = '0123456789abcdef0123456789abcdef';
    requestVector(metadata, 12, wire('0003 000c 00000007', s('me'), '00', '02', id, '00 00', '01 00 00'), {
      topics: [{ topicId: id, name: null }],
      allowAutoTopicCreation: true,
      includeTopicAuthorizedOperations: false,
    });
    responseVector(
      metadata,
      12,
      wire(
        '00000007 00',
        '00000000',
        '02 00000001',
        c('h'),
        '00000050',
        c('r'),
        '00',
        c('cluster'),
        'ffffffff',
        '02 0064 00',
        id,
        '00 01',
        '80000000',
        '00',
        '00',
      ),
      {
        brokers: [{ nodeId: 1, host: 'h', port: 80, rack: 'r' }],
        clusterId: 'cluster',
        topics: [
          {
            errorCode: 100,
            name: null,
            topicId: id,
            isInternal: false,
            partitions: [],
            topicAuthorizedOperations: -2147483648,
          },
        ],
      },
    );
  });
});

describe('Produce', () => {
  const topicData = [
    {
      name: 't',
      topicId: zeroUuid,
      partitionData: [
        { index: 1, records: Buffer.from('abc') },
        { index: 2, records: null },
      ],
    },
  ];

  test('version 3', () => {
    requestVector(
      produce,
      3,
      wire(
        '0000 0003 00000007',
        s('me'),
        'ffff ffff 00000064',
        '00000001',
        s('t'),
        '00000002',
        '00000001 00000003 616263',
        '00000002 ffffffff',
      ),
      { transactionalId: null, acks: -1, timeoutMs: 100, topicData },
    );
    responseVector(
      produce,
      3,
      wire(
        '00000007',
        '00000001',
        s('t'),
        '00000001',
        '00000001 0000 0000000100000000 ffffffffffffffff',
        '00000005',
      ),
      {
        responses: [
          {
            name: 't',
            topicId: zeroUuid,
            partitionResponses: [
              {
                index: 1,
                errorCode: 0,
                baseOffset: 2 ** 32,
                logAppendTimeMs: -1,
                logStartOffset: -1,
                recordErrors: [],
                errorMessage: null,
                currentLeader: { leaderId: -1, leaderEpoch: -1 },
              },
            ],
          },
        ],
        throttleTimeMs: 5,
      },
    );
  });

  test('version 9', () => {
    requestVector(
      produce,
      9,
      wire(
        '0000 0009 00000007',
        s('me'),
        '00',
        c('tx'),
        '0001 00000064',
        '02',
        c('t'),
        '03',
        '00000001 04 616263 00',
        '00000002 00 00',
        '00',
        '00',
      ),
      { transactionalId: 'tx', acks: 1, timeoutMs: 100, topicData },
    );
  });

  test('version 10 redirects in tagged fields', () => {
    responseVector(
      produce,
      10,
      wire(
        '00000007 00',
        '02',
        c('t'),
        '02',
        '00000001 0006 ffffffffffffffff ffffffffffffffff ffffffffffffffff 01 00',
        '01 00 09 00000003 00000009 00',
        '00',
        '00000000',
        '01 00 0d 02 00000003',
        c('h'),
        '00002384 00 00',
      ),
      {
        responses: [
          {
            name: 't',
            topicId: zeroUuid,
            partitionResponses: [
              {
                index: 1,
                errorCode: 6,
                baseOffset: -1,
                logAppendTimeMs: -1,
                logStartOffset: -1,
                recordErrors: [],
                errorMessage: null,
                currentLeader: { leaderId: 3, leaderEpoch: 9 },
              },
            ],
          },
        ],
        throttleTimeMs: 0,
        nodeEndpoints: [{ nodeId: 3, host: 'h', port: 9092, rack: null }],
      },
    );
  });
});

describe('Fetch', () => {
  test('version 4', () => {
    requestVector(
      fetch,
      4,
      wire(
        '0001 0004 00000007',
        s('me'),
        'ffffffff 000001f4 00000001 00100000 01',
        '00000001',
        s('t'),
        '00000001 00000002 0000000000000009 00010000',
      ),
      {
        maxWaitMs: 500,
        minBytes: 1,
        maxBytes: 0x100000,
        isolationLevel: 1,
        topics: [
          {
            topic: 't',
            topicId: zeroUuid,
            partitions: [
              {
                partition: 2,
                currentLeaderEpoch: -1,
                fetchOffset: 9,
                lastFetchedEpoch: -1,
                logStartOffset: -1,
                partitionMaxBytes: 65536,
                replicaDirectoryId: zeroUuid,
              },
            ],
          },
        ],
      },
    );
    responseVector(
      fetch,
      4,
      wire(
        '00000007',
        '00000000',
        '00000001',
        s('t'),
        '00000001 00000002 0000 000000000000000a 0000000000000009',
        '00000001 0000000000000005 0000000000000008',
        '00000003 616263',
      ),
      {
        responses: [
          {
            topic: 't',
            topicId: zeroUuid,
            partitions: [
              {
                partitionIndex: 2,
                errorCode: 0,
                highWatermark: 10,
                lastStableOffset: 9,
                logStartOffset: -1,
                divergingEpoch: { epoch: -1, endOffset: -1 },
                currentLeader: { leaderId: -1, leaderEpoch: -1 },
                snapshotId: { endOffset: -1, epoch: -1 },
                abortedTransactions: [{ producerId: 5, firstOffset: 8 }],
                preferredReadReplica: -1,
                records: Buffer.from('abc'),
              },
            ],
          },
        ],
      },
    );
  });

  test('version 12', () => {
    requestVector(
      fetch,
      12,
      wire(
        '0001 000c 00000007',
        s('me'),
        '00',
        'ffffffff 00000000 00000001 7fffffff 00 00000003 00000004',
        '01',
        '02',
        c('t'),
        '03 00000000 00000001 00',
        c('rack'),
        '01 00 03',
        c('c1'),
      ),
      {
        clusterId: 'c1',
        maxWaitMs: 0,
        minBytes: 1,
        sessionId: 3,
        sessionEpoch: 4,
        topics: [],
        forgottenTopicsData: [{ topic: 't', topicId: zeroUuid, partitions: [0, 1] }],
        rackId: 'rack',
      },
    );
  });
});

describe('groups', () => {
  test('JoinGroup version 5', () => {
    requestVector(
      joinGroup,
      5,
      wire(
        '000b 0005 00000007',
        s('me'),
        s('g'),
        '00002710 0000ea60',
        s(''),
        s('i'),
        s('consumer'),
        '00000001',
        s('range'),
        '00000002 0102',
      ),
      {
        groupId: 'g',
        sessionTimeoutMs: 10000,
        rebalanceTimeoutMs: 60000,
        memberId: '',
        groupInstanceId: 'i',
        protocolType: 'consumer',
        protocols: [{ name: 'range', metadata: Buffer.from([1, 2]) }],
      },
    );
    responseVector(
      joinGroup,
      5,
      wire(
        '00000007',
        '00000000 0000 00000001',
        s('range'),
        s('a'),
        s('a'),
        '00000001',
        s('a'),
        'ffff 00000002 0102',
      ),
      {
        errorCode: 0,
        generationId: 1,
        protocolName: 'range',
        leader: 'a',
        memberId: 'a',
        members: [{ memberId: 'a', groupInstanceId: null, metadata: Buffer.from([1, 2]) }],
      },
    );
  });

  test('JoinGroup version 9', () => {
    requestVector(
      joinGroup,
      9,
      wire(
        '000b 0009 00000007',
        s('me'),
        '00',
        c('g'),
        '00002710 0000ea60',
        c('m'),
        '00',
        c('consumer'),
        '02',
        c('range'),
        '03 0102 00',
        c('why'),
        '00',
      ),
      {
        groupId: 'g',
        sessionTimeoutMs: 10000,
        rebalanceTimeoutMs: 60000,
        memberId: 'm',
        groupInstanceId: null,
        protocolType: 'consumer',
        protocols: [{ name: 'range', metadata: Buffer.from([1, 2]) }],
        reason: 'why',
      },
    );
    responseVector(
      joinGroup,
      9,
      wire('00000007 00', '00000000 0019 ffffffff', '00 00', c(''), '01', c('m'), '01', '00'),
      {
        errorCode: 25,
        protocolType: null,
        protocolName: null,
        leader: '',
        skipAssignment: true,
        memberId: 'm',
        members: [],
      },
    );
  });

  test('FindCoordinator versions 0 and 4', () => {
    requestVector(findCoordinator, 0, wire('000a 0000 00000007', s('me'), s('g')), { key: 'g' });
    responseVector(findCoordinator, 0, wire('00000007', '0000 00000001', s('h'), '00002384'), {
      errorCode: 0,
      nodeId: 1,
      host: 'h',
      port: 9092,
    });
    requestVector(
      findCoordinator,
      4,
      wire('000a 0004 00000007', s('me'), '00', '00 03', c('g'), c('k'), '00'),
      {
        keyType: 0,
        coordinatorKeys: ['g', 'k'],
      },
    );
    responseVector(
      findCoordinator,
      4,
      wire('00000007 00', '00000000', '02', c('g'), '00000001', c('h'), '00002384 0000 00 00', '00'),
      {
        coordinators: [{ key: 'g', nodeId: 1, host: 'h', port: 9092, errorCode: 0, errorMessage: null }],
      },
    );
  });

  test('OffsetCommit versions 1, 2 and 8', () => {
    const partition = {
      partitionIndex: 3,
      committedOffset: 5,
      committedLeaderEpoch: -1,
      commitTimestamp: -1,
      committedMetadata: 'x',
    };
    const value = {
      groupId: 'g',
      generationIdOrMemberEpoch: 1,
      memberId: 'm',
      topics: [{ name: 't', topicId: zeroUuid, partitions: [partition] }],
    };
    const head = (version: string) => wire(`0008 ${version} 00000007`, s('me'));
    const group = s('g') + '00000001' + s('m');
    const topic = `00000001${s('t')}00000001`;
    requestVector(
      offsetCommit,
      1,
      Buffer.concat([head('0001'), wire(group, topic, '00000003 0000000000000005 ffffffffffffffff', s('x'))]),
      value,
    );
    requestVector(
      offsetCommit,
      2,
      Buffer.concat([
        head('0002'),
        wire(group, '00000000000003e8', topic, '00000003 0000000000000005', s('x')),
      ]),
      { ...value, retentionTimeMs: 1000 },
    );
    requestVector(
      offsetCommit,
      8,
      Buffer.concat([
        head('0008'),
        wire('00', c('g'), '00000001', c('m'), '00'),
        wire('02', c('t'), '02 00000003 0000000000000005 00000007', c('x'), '00', '00', '00'),
      ]),
      {
        ...value,
        topics: [{ ...value.topics[0]!, name: 't', partitions: [{ ...partition, committedLeaderEpoch: 7 }] }],
      },
    );
    responseVector(
      offsetCommit,
      8,
      wire('00000007 00', '00000000', '02', c('t'), '02 00000003 001b 00', '00', '00'),
      { topics: [{ name: 't', topicId: zeroUuid, partitions: [{ partitionIndex: 3, errorCode: 27 }] }] },
    );
  });
});

test('the static types follow the schema', () => {
  type Produced = RequestOf<typeof produce>;
  expectTypeOf<Produced['transactionalId']>().toEqualTypeOf<string | null>();
  expectTypeOf<Produced['acks']>().toEqualTypeOf<number>();
  expectTypeOf<
    Produced['topicData'][number]['partitionData'][number]['records']
  >().toEqualTypeOf<Buffer | null>();
  type Join = RequestInput<typeof joinGroup>;
  expectTypeOf<{ groupId: string }>().not.toExtend<Join>();
  expectTypeOf<Join['reason']>().toEqualTypeOf<string | null | undefined>();
  expectTypeOf<Join['groupId']>().toEqualTypeOf<string>();
});
