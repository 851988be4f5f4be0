import { api, request, response } from '../api.ts';
import { array, bool, int16, int32, int64, string } from '../schema.ts';

/** Negotiation of versions. Its response has the old header in every version, so that any client can read it. */
export const apiVersions = api(
  { key: 18, name: 'ApiVersions', versions: '0-4', flexible: 3 },
  request({
    clientSoftwareName: string('3+', { ignorable: true }),
    clientSoftwareVersion: string('3+', { ignorable: true }),
  }),
  response({
    errorCode: int16(),
    apiKeys: array({ apiKey: int16(), minVersion: int16(), maxVersion: int16() }),
    throttleTimeMs: int32('1+', { ignorable: true }),
    supportedFeatures: array({ name: string(), minVersion: int16(), maxVersion: int16() }, '3+', {
      ignorable: true,
      tag: 0,
    }),
    finalizedFeaturesEpoch: int64('3+', { default: -1, ignorable: true, tag: 1 }),
    finalizedFeatures: array({ name: string(), maxVersionLevel: int16(), minVersionLevel: int16() }, '3+', {
      ignorable: true,
      tag: 2,
    }),
    zkMigrationReady: bool('3+', { ignorable: true, tag: 3 }),
  }),
);
