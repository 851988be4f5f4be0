import { api, request, response } from '../api.ts';
import { array, bool, int16, int32, int8, string } from '../schema.ts';

/** Replaces the whole configuration of a resource. */
export const alterConfigs = api(
  { key: 33, name: 'AlterConfigs', versions: '0-2', flexible: 2 },
  request({
    resources: array({
      resourceType: int8(),
      resourceName: string(),
      configs: array({ name: string(), value: string('0+', { nullable: '0+' }) }),
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
