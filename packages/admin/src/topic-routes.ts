import { RobustError } from '@robustmq/core';
import type { ShardId } from '@robustmq/core';
import type { Kernel, KernelErrorCode, ShardRecord, TopicRecord } from '@robustmq/kernel';
import { topicConfigKeys } from '@robustmq/kernel';
import type { FastifyInstance } from 'fastify';

/** A JSON Schema of a body; unknown keys are refused. */
const shards = { type: 'integer', minimum: 1, maximum: 10_000 } as const;
const configKeysMax = 64;
const configText = { type: 'string', maxLength: 256 } as const;

interface NameParams {
  readonly name: string;
}

interface CreateBody {
  readonly name: string;
  readonly shards?: number;
  readonly config?: Readonly<Record<string, string>>;
}

interface ChangeBody {
  readonly shards?: number;
  readonly config?: Readonly<Record<string, string | null>>;
}

const createSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['name'],
  properties: {
    name: { type: 'string', maxLength: 249 },
    shards,
    config: { type: 'object', maxProperties: configKeysMax, additionalProperties: configText },
  },
} as const;

/** One change a request: it happens, or it does not. */
const changeSchema = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  maxProperties: 1,
  properties: {
    shards,
    config: {
      type: 'object',
      maxProperties: configKeysMax,
      additionalProperties: { ...configText, type: ['string', 'null'] },
    },
  },
} as const;

/** `/api/v1/topics`: list, show, create, change, delete. */
export function addTopicRoutes(app: FastifyInstance, kernel: Kernel): void {
  const { topics } = kernel;
  app.get('/api/v1/topics', () => topics.list().map((topic) => summary(topic)));
  app.get<{ Params: NameParams }>('/api/v1/topics/:name', ({ params }) =>
    detail(kernel, find(kernel, params.name)),
  );
  app.post<{ Body: CreateBody }>(
    '/api/v1/topics',
    { schema: { body: createSchema } },
    async (request, reply) => {
      const { name, shards: count = topics.options.autoCreateShards, config = {} } = request.body;
      const topic = await topics.create(name, count, new Map(Object.entries(config)));
      return reply.code(201).send(detail(kernel, topic));
    },
  );
  app.patch<{ Params: NameParams; Body: ChangeBody }>(
    '/api/v1/topics/:name',
    { schema: { body: changeSchema } },
    async ({ params, body }) => {
      const topic = find(kernel, params.name);
      if (body.config !== undefined) await topics.configure(topic, new Map(Object.entries(body.config)));
      if (body.shards !== undefined) await topics.grow(topic, body.shards);
      return detail(kernel, find(kernel, params.name));
    },
  );
  app.delete<{ Params: NameParams }>('/api/v1/topics/:name', async ({ params }, reply) => {
    await topics.delete(find(kernel, params.name));
    return reply.code(204).send();
  });
}

function find({ topics }: Kernel, name: string): TopicRecord {
  const topic = topics.byName(name);
  if (topic === undefined || topic.internal) {
    throw new RobustError<KernelErrorCode>('TOPIC_NOT_FOUND', 'there is no such topic');
  }
  return topic;
}

function summary(topic: TopicRecord): object {
  const { name, id } = topic;
  return { name, id, shards: topic.shards.length, config: Object.fromEntries(topic.config) };
}

function detail(kernel: Kernel, topic: TopicRecord): object {
  const { image } = kernel.modules.metadata;
  const bytes = kernel.modules.journal.usage().shards;
  return {
    ...summary(topic),
    bound: kernel.topics.isBound(topic),
    effectiveConfig: Object.fromEntries(
      topicConfigKeys.map((key) => [key.name, topic.config.get(key.name) ?? key.default]),
    ),
    shardList: topic.shards.flatMap((id) => {
      const record = image.shards.get(id);
      return record === undefined ? [] : [shardDetail(kernel, record, bytes.get(id) ?? 0)];
    }),
  };
}

/** `highWatermark` is null while the shard was not used since the start. */
export function shardDetail(kernel: Kernel, record: ShardRecord, bytes: number): object {
  const { id, index, owner, ownerEpoch, startOffset, holes, lossAccepted } = record;
  const highWatermark = kernel.readyShard(id as ShardId)?.highWatermark ?? null;
  return { id, index, owner, ownerEpoch, startOffset, highWatermark, bytes, holes, lossAccepted };
}
