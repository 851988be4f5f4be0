import { expect, test } from 'vitest';
import { advertised } from './advertised.ts';
import { fetch } from './apis/fetch.ts';
import { produce } from './apis/produce.ts';
import { decoderSource } from './compile-decoder.ts';
import { encoderSource } from './compile-encoder.ts';
import { errorCodes, errorName } from './error-codes.ts';
import { apis } from './registry.ts';

test('what is advertised can be decoded and encoded', () => {
  expect(advertised.map((row) => row.apiKey)).toEqual([...apis.keys()]);
  for (const { apiKey, min, max, serveMin } of advertised) {
    const api = apis.get(apiKey);
    expect(api?.versions.min).toBe(serveMin);
    expect(max).toBeLessThanOrEqual(api?.versions.max ?? -1);
    expect(min).toBeLessThanOrEqual(serveMin);
  }
});

test('versions that old clients look for lie in the advertised ranges', () => {
  const probes: [key: number, versions: number[]][] = [
    [0, [0, 3, 7]],
    [1, [4, 10]],
    [2, [1]],
    [8, [1, 2]],
    [9, [1]],
    [10, [0]],
    [11, [0]],
    [12, [0]],
    [13, [0]],
    [14, [0]],
    [18, [0]],
    [22, [0]],
    [23, [2]],
    [32, [0]],
    [35, [0]],
  ];
  for (const [key, versions] of probes) {
    const row = advertised.find((each) => each.apiKey === key);
    for (const version of versions)
      expect(row !== undefined && row.min <= version && version <= row.max, `${key} v${version}`).toBe(true);
  }
});

test('every version compiles in both directions', () => {
  for (const api of apis.values())
    for (const message of [api.request, api.response])
      for (let version = api.versions.min; version <= api.versions.max; version++) {
        expect(message.decoder(version)).toBe(message.decoder(version));
        expect(message.encoder(version)).toBe(message.encoder(version));
      }
  for (const version of [3, 18, -1, 4.5, Number.NaN])
    expect(() => fetch.request.decoder(version)).toThrow(
      expect.objectContaining({ code: 'KAFKA_CODEC_VERSION_UNSUPPORTED' }),
    );
});

test('generated functions read as intended', async () => {
  await expect(decoderSource(fetch.request, 12)).toMatchFileSnapshot('golden/fetch-request-v12-decoder.txt');
  await expect(encoderSource(produce.response, 10)).toMatchFileSnapshot(
    'golden/produce-response-v10-encoder.txt',
  );
});

test('error codes are distinct and have names', () => {
  const codes = Object.values(errorCodes);
  expect(new Set(codes).size).toBe(codes.length);
  expect(errorName(errorCodes.UNKNOWN_TOPIC_ID)).toBe('UNKNOWN_TOPIC_ID');
  expect(errorName(12345)).toBe('UNKNOWN_SERVER_ERROR');
});
