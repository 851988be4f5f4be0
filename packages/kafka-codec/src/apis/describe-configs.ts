import { api, request, response } from '../api.ts';
import { array, bool, int16, int32, int8, string } from '../schema.ts';

/** Configuration of topics and brokers. Version 0, below Kafka 4's minimum, is still sent by old Sarama. */
export const describeConfigs = api(
  { key: 32, name: 'DescribeConfigs', versions: '0-4', flexible: 4 },
  request({
    resources: array({
      resourceType: int8(),
      resourceName: string(),
      configurationKeys: array(string(), '0+', { nullable: '0+' }),
    }),
    includeSynonyms: bool('1+'),
    includeDocumentation: bool('3+'),
  }),
  response({
    throttleTimeMs: int32(),
    results: array({
      errorCode: int16(),
      errorMessage: string('0+', { nullable: '0+' }),
      resourceType: int8(),
      resourceName: string(),
      configs: array({
        name: string(),
        value: string('0+', { nullable: '0+' }),
        readOnly: bool(),
        isDefault: bool('0', { ignorable: true }),
        configSource: int8('1+', { default: -1, ignorable: true }),
        isSensitive: bool(),
        synonyms: array({ name: string(), value: string('0+', { nullable: '0+' }), source: int8() }, '1+', {
          ignorable: true,
        }),
        configType: int8('3+', { ignorable: true }),
        documentation: string('3+', { nullable: '0+', ignorable: true }),
      }),
    }),
  }),
);
