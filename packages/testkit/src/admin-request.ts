import type { ServerProcess } from './server-process.ts';

const timeoutMs = 30_000;

/** A request to the admin listener of a server; its answer as text. Rejects unless it succeeds. */
export async function adminRequest(
  server: ServerProcess,
  method: string,
  path: string,
  body?: object,
): Promise<string> {
  const response = await fetch(`http://${server.address('admin')}${path}`, {
    method,
    headers: body === undefined ? {} : { 'content-type': 'application/json' },
    body: body === undefined ? null : JSON.stringify(body),
    signal: AbortSignal.timeout(timeoutMs),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text;
}
