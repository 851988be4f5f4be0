import { describe, test } from 'vitest';
import { metadataConformance } from '@robustmq/kernel/conformance';
import { createVolatileMetadata } from './volatile-metadata.ts';

metadataConformance({ describe, test }, async ({ defaultTopic }) => ({
  metadata: createVolatileMetadata({ clusterId: 'c', defaultTopic }),
  close: async () => undefined,
}));
