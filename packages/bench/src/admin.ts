import type { Endpoint } from './job.ts';
import type { TopicOptions } from './rows/row.ts';

/** What the benchmark asks of this server's admin port. */

export async function readMetrics(admin: Endpoint): Promise<string> {
  const response = await fetch(`${urlOf(admin)}/metrics`);
  return response.text();
}

/** Value of one metric in the text of all, without a label or with the one given; throws when there is none. */
export function metricOf(metrics: string, name: string, label = ''): number {
  const start = label === '' ? `${name} ` : `${name}{`;
  const line = metrics.split('\n').find((each) => each.startsWith(start) && each.includes(label));
  if (line === undefined) throw new Error(`the server has no metric ${name} ${label}`.trim());
  return Number(line.slice(line.lastIndexOf(' ') + 1));
}

/** Makes a topic with these settings, or with `partitions` null changes one that is there. */
export async function configureTopic(
  admin: Endpoint,
  topic: string,
  { partitions, settings }: TopicOptions,
): Promise<void> {
  const topics = `${urlOf(admin)}/api/v1/topics`;
  const [method, url, body] =
    partitions === null
      ? (['PATCH', `${topics}/${topic}`, { config: settings }] as const)
      : (['POST', topics, { name: topic, shards: partitions, config: settings }] as const);
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(url, { method, headers, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`${method} ${topic}: ${response.status} ${await response.text()}`);
}

function urlOf({ host, port }: Endpoint): string {
  return `http://${host}:${port}`;
}
