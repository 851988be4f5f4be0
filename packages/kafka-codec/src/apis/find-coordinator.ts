import { api, request, response } from '../api.ts';
import { array, int16, int32, int8, string } from '../schema.ts';

/** Finds the coordinator of a group, transaction or share group: of one key up to version 3, of several from 4 on. */
export const findCoordinator = api(
  { key: 10, name: 'FindCoordinator', versions: '0-6', flexible: 3 },
  request({
    key: string('0-3'),
    keyType: int8('1+'),
    coordinatorKeys: array(string(), '4+'),
  }),
  response({
    throttleTimeMs: int32('1+', { ignorable: true }),
    errorCode: int16('0-3'),
    errorMessage: string('1-3', { nullable: '1-3', ignorable: true }),
    nodeId: int32('0-3'),
    host: string('0-3'),
    port: int32('0-3'),
    coordinators: array(
      {
        key: string(),
        nodeId: int32(),
        host: string(),
        port: int32(),
        errorCode: int16(),
        errorMessage: string('4+', { nullable: '4+', ignorable: true }),
      },
      '4+',
    ),
  }),
);
