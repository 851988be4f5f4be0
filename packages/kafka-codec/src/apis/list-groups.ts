import { api, request, response } from '../api.ts';
import { array, int16, int32, string } from '../schema.ts';

/** Groups by state (version 4) and type (version 5). */
export const listGroups = api(
  { key: 16, name: 'ListGroups', versions: '0-5', flexible: 3 },
  request({
    statesFilter: array(string(), '4+'),
    typesFilter: array(string(), '5+'),
  }),
  response({
    throttleTimeMs: int32('1+', { ignorable: true }),
    errorCode: int16(),
    groups: array({
      groupId: string(),
      protocolType: string(),
      groupState: string('4+', { ignorable: true }),
      groupType: string('5+', { ignorable: true }),
    }),
  }),
);
