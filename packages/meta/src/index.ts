export type { Pair } from './codec/pair-codec.ts';
export type { Refusal } from './state/refusal.ts';
export type { StateOptions, Transition } from './state/metadata-state.ts';
export { MetadataState } from './state/metadata-state.ts';
export type { VolatileMetadataOptions } from './volatile-metadata.ts';
export { createVolatileMetadata, VolatileMetadata } from './volatile-metadata.ts';
export type { LocalMetadataOptions } from './local-metadata.ts';
export { LocalMetadata, openLocalMetadata } from './local-metadata.ts';
export type { MetaErrorCode } from './errors.ts';
