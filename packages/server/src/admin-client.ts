import { RobustError } from '@robustmq/core';
import type { ServerErrorCode } from './errors.ts';
import { usageError } from './errors.ts';

export const defaultAdminUrl = 'http://127.0.0.1:58080';

const timeoutMs = 30_000;

/** What of a shard the answer names. */
interface ShardAnswer {
  readonly topic: string;
  readonly index: number;
  readonly lossAccepted: boolean;
}

/**
 * Tells a running server to go on without what a shard has lost; returns a sentence for the person who asked. Throws
 * USAGE, ADMIN_REQUEST_FAILED.
 */
export async function acceptLoss(adminUrl: string, id: string): Promise<string> {
  if (!/^\d{1,10}$/.test(id)) throw usageError(`${id} is no shard id`);
  const { topic, index, lossAccepted } = await post<ShardAnswer>(
    new Request(endpoint(adminUrl, `/api/v1/shards/${id}/accept-loss`), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{}',
    }),
  );
  const shard = `shard ${id} (${topic}, ${index})`;
  if (!lossAccepted) return `${shard} has lost nothing; there is nothing to accept.`;
  const next = (await isReady(adminUrl)) ? '' : ' Restart the server to open what stayed closed for it.';
  return `${shard} goes on without what it has lost.${next}`;
}

function endpoint(adminUrl: string, path: string): URL {
  if (!URL.canParse(path, adminUrl)) throw usageError(`${adminUrl} is no URL`);
  return new URL(path, adminUrl);
}

async function isReady(adminUrl: string): Promise<boolean> {
  return (await send(new Request(endpoint(adminUrl, '/readyz')))).ok;
}

async function post<Answer>(request: Request): Promise<Answer> {
  const response = await send(request);
  const text = await response.text();
  if (!response.ok) throw failed(`${request.url} answers ${response.status}: ${messageOf(text)}`);
  return JSON.parse(text) as Answer;
}

async function send(request: Request): Promise<Response> {
  try {
    return await fetch(request, { signal: AbortSignal.timeout(timeoutMs) });
  } catch (cause) {
    throw failed(
      `no server answers at ${request.url}; is it running, and is --admin its admin address?`,
      cause,
    );
  }
}

function messageOf(text: string): string {
  try {
    return (JSON.parse(text) as { message: string }).message;
  } catch {
    return text.slice(0, 256);
  }
}

function failed(message: string, cause?: unknown): RobustError<ServerErrorCode> {
  return new RobustError('ADMIN_REQUEST_FAILED', message, { cause });
}
