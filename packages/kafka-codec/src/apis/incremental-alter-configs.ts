import { api, request, response } from '../api.ts';
import { array, bool, int16, int32, int8, string } from '../schema.ts';

/** Sets (0), deletes (1), appends to (2) or subtracts from (3) single configuration values. */
export const incrementalAlterConfigs = api(
  { key: 44, name: 'IncrementalAlterConfigs', versions: '0-1', flexible: 1 },
  request({
    resources: array({
      resourceType: int8(),
      resourceName: string(),
      configs: array({ name: string(), configOperation: int8(), value: string('0+', { nullable: '0+' }) }),
    }),
    validateOnly: bool(),
  }),
  response({
    throttleTimeMs: int32(),
    responses: array({
      errorCode: int16(),
      errorMessage: string('0+', { nullable: '0+' }),
      resourceType: int8(),
      resourceName: string(),
    }),
  }),
);
