import { api, request, response } from '../api.ts';
import { array, int16, int32, string } from '../schema.ts';

/** Deletes empty groups and their offsets. */
export const deleteGroups = api(
  { key: 42, name: 'DeleteGroups', versions: '0-2', flexible: 2 },
  request({ groupsNames: array(string()) }),
  response({
    throttleTimeMs: int32(),
    results: array({ groupId: string(), errorCode: int16() }),
  }),
);
