import { RobustError } from '@robustmq/core';
import type { ShardId } from '@robustmq/core';
import type { Kernel, KernelErrorCode, ShardRecord } from '@robustmq/kernel';
import type { FastifyInstance } from 'fastify';
import { shardDetail } from './topic-routes.ts';

interface IdParams {
  readonly id: number;
}

const paramsSchema = {
  type: 'object',
  required: ['id'],
  properties: { id: { type: 'string', pattern: '^[0-9]{1,10}$' } },
} as const;

/** An object, so that no page of another origin can send the request without asking first. */
const emptySchema = { type: 'object', additionalProperties: false } as const;

/** `/api/v1/shards/:id`: show a shard, internal ones too; go on without what it has lost. */
export function addShardRoutes(app: FastifyInstance, kernel: Kernel): void {
  app.get<{ Params: IdParams }>('/api/v1/shards/:id', { schema: { params: paramsSchema } }, ({ params }) =>
    describe(kernel, find(kernel, params.id)),
  );
  app.post<{ Params: IdParams }>(
    '/api/v1/shards/:id/accept-loss',
    { schema: { params: paramsSchema, body: emptySchema } },
    async ({ params }) => {
      const { id } = find(kernel, params.id);
      const [result] = await kernel.modules.metadata.propose([{ kind: 'acceptLoss', shard: id }]);
      if (result instanceof Error) throw result;
      return describe(kernel, find(kernel, params.id));
    },
  );
}

function find(kernel: Kernel, id: number): ShardRecord {
  const record = kernel.modules.metadata.image.shards.get(Number(id) as ShardId);
  if (record === undefined) {
    throw new RobustError<KernelErrorCode>('SHARD_NOT_FOUND', 'there is no such shard');
  }
  return record;
}

function describe(kernel: Kernel, record: ShardRecord): object {
  const { metadata, journal } = kernel.modules;
  const topic = metadata.image.topics.get(record.topic);
  const bytes = journal.usage().shards.get(record.id) ?? 0;
  return { topic: topic?.name ?? null, ...shardDetail(kernel, record, bytes) };
}
