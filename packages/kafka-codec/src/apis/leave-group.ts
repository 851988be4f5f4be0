import { api, request, response } from '../api.ts';
import { array, int16, int32, string } from '../schema.ts';

/** Leaves a group: one member up to version 2, several from 3 on. */
export const leaveGroup = api(
  { key: 13, name: 'LeaveGroup', versions: '0-5', flexible: 4 },
  request({
    groupId: string(),
    memberId: string('0-2'),
    members: array(
      {
        memberId: string(),
        groupInstanceId: string('3+', { nullable: '3+', default: null }),
        reason: string('5+', { nullable: '5+', default: null, ignorable: true }),
      },
      '3+',
    ),
  }),
  response({
    throttleTimeMs: int32('1+', { ignorable: true }),
    errorCode: int16(),
    members: array(
      {
        memberId: string(),
        groupInstanceId: string('0+', { nullable: '3+' }),
        errorCode: int16(),
      },
      '3+',
    ),
  }),
);
