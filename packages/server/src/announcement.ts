import { hostAndPort, isWildcard } from './listen-hosts.ts';
import type { Endpoint } from './listeners.ts';

const order: readonly Endpoint['name'][] = ['mqtt', 'mqttWebSocket', 'kafka', 'admin'];

/** What a start came to. */
export interface StartReport {
  readonly folder: string;
  readonly startMs: number;
  /** Listeners that stay closed, with the reason. */
  readonly problems: readonly string[];
}

/** What a person sees after the start: the listeners, and lines to try. The last line says that all is open, or not. */
export function announcement(
  endpoints: readonly Endpoint[],
  { folder, startMs, problems }: StartReport,
): string {
  const lines = [`RobustMQ is listening; its data is in ${folder}`];
  for (const endpoint of order.flatMap((name) => endpoints.filter((each) => each.name === name))) {
    const addresses = endpoint.hosts.map((host) => address(endpoint.name, hostAndPort(host, endpoint.port)));
    lines.push(`  ${endpoint.name.padEnd(15)}${addresses.join('  ')}`);
  }
  const tries = linesToTry(endpoints);
  if (tries.length > 0)
    lines.push('Try, each in a terminal of its own:', ...tries.map((line) => `  ${line}`));
  for (const problem of problems) lines.push(`Not open: ${problem}`);
  lines.push(`${problems.length === 0 ? 'ready' : 'NOT ready'} after ${Math.round(startMs)} ms`);
  return `${lines.join('\n')}\n`;
}

function address(name: Endpoint['name'], where: string): string {
  if (name === 'admin') return `http://${where}`;
  return name === 'mqttWebSocket' ? `ws://${where}/mqtt` : where;
}

function linesToTry(endpoints: readonly Endpoint[]): string[] {
  const find = (name: Endpoint['name']): Endpoint | undefined =>
    endpoints.find((endpoint) => endpoint.name === name);
  const lines: string[] = [];
  const mqtt = find('mqtt');
  if (mqtt !== undefined) {
    const where = `-h ${clientHost(mqtt)}${mqtt.port === 1883 ? '' : ` -p ${mqtt.port}`}`;
    lines.push(`mosquitto_sub ${where} -v -t 'demo/#'`, `mosquitto_pub ${where} -q 1 -t demo/hello -m world`);
  }
  const kafka = find('kafka');
  if (kafka !== undefined) {
    lines.push(`kcat -b ${hostAndPort(clientHost(kafka), kafka.port)} -C -t mqtt -f '%k %s\\n'`);
  }
  return lines;
}

function clientHost({ hosts }: Endpoint): string {
  const [first] = hosts;
  return first === undefined || isWildcard(first) ? '127.0.0.1' : first;
}
