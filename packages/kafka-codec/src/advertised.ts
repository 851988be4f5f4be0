/** What the server says about one API in its ApiVersions answer, and from which version on it really serves it. */
export interface AdvertisedApi {
  readonly apiKey: number;
  readonly min: number;
  readonly max: number;
  readonly serveMin: number;
}

/**
 * The version ranges to advertise. Old clients look for single versions in them, so a minimum is never raised.
 * Produce is advertised from 0 although 0 to 2 are refused: librdkafka before 2.11.1 compresses only if it sees 0
 * (KAFKA-18659). ListOffsets stops at 10 because 11 promises the timestamp -6, which nobody answers.
 */
export const advertised: readonly AdvertisedApi[] = [
  { apiKey: 0, min: 0, max: 13, serveMin: 3 },
  { apiKey: 1, min: 4, max: 17, serveMin: 4 },
  { apiKey: 2, min: 1, max: 10, serveMin: 1 },
  { apiKey: 3, min: 0, max: 13, serveMin: 0 },
  { apiKey: 8, min: 1, max: 10, serveMin: 1 },
  { apiKey: 9, min: 1, max: 10, serveMin: 1 },
  { apiKey: 10, min: 0, max: 6, serveMin: 0 },
  { apiKey: 11, min: 0, max: 9, serveMin: 0 },
  { apiKey: 12, min: 0, max: 4, serveMin: 0 },
  { apiKey: 13, min: 0, max: 5, serveMin: 0 },
  { apiKey: 14, min: 0, max: 5, serveMin: 0 },
  { apiKey: 15, min: 0, max: 6, serveMin: 0 },
  { apiKey: 16, min: 0, max: 5, serveMin: 0 },
  { apiKey: 18, min: 0, max: 4, serveMin: 0 },
  { apiKey: 19, min: 2, max: 7, serveMin: 2 },
  { apiKey: 20, min: 1, max: 6, serveMin: 1 },
  { apiKey: 21, min: 0, max: 2, serveMin: 0 },
  { apiKey: 22, min: 0, max: 5, serveMin: 0 },
  { apiKey: 23, min: 2, max: 4, serveMin: 2 },
  { apiKey: 32, min: 0, max: 4, serveMin: 0 },
  { apiKey: 33, min: 0, max: 2, serveMin: 0 },
  { apiKey: 35, min: 0, max: 5, serveMin: 0 },
  { apiKey: 37, min: 0, max: 3, serveMin: 0 },
  { apiKey: 42, min: 0, max: 2, serveMin: 0 },
  { apiKey: 44, min: 0, max: 1, serveMin: 0 },
  { apiKey: 47, min: 0, max: 0, serveMin: 0 },
  { apiKey: 60, min: 0, max: 2, serveMin: 0 },
];
