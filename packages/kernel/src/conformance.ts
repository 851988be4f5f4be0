export type { BrokerMeshSubject, MakeBrokerMesh } from './conformance/broker-mesh.ts';
export { brokerMeshConformance } from './conformance/broker-mesh.ts';
export type { JournalSubject, MakeJournal } from './conformance/journal-client.ts';
export { AppendRecorder, journalClientConformance, TestLog } from './conformance/journal-client.ts';
export type { ConformanceTestApi, MakeMetadata, MetadataSubject } from './conformance/metadata.ts';
export { metadataConformance } from './conformance/metadata.ts';
