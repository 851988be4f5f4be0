import { int32, string } from '../schema.ts';

/** Where a partition's leader is reached, sent beside the errors that redirect a client to it. */
export const nodeEndpoint = {
  nodeId: int32(),
  host: string(),
  port: int32(),
  rack: string('0+', { nullable: '0+', default: null }),
};
