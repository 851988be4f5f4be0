import { describe, test } from 'vitest';
import { metadataConformance } from '../../kernel/src/conformance/metadata.ts';
import { createVolatileMetadata } from './volatile-metadata.ts';

metadataConformance({ describe, test }, async ({ defaultTopic }) => ({
  metadata: createVolatileMetadata({ clusterId: 'c', defaultTopic }),
  close: async () => undefined,
}));
