import { hostAndPort, isWildcard } from './listen-hosts.ts';
import type { Endpoint } from './listeners.ts';

/** The last line of what a start prints: every listener is open. */
export const readyPrefix = 'ready after ';

/** What a person sees after the start: the listeners, and lines to try. */
export function announcement(
  endpoints: readonly Endpoint[],
  { folder, startMs }: { readonly folder: string; readonly startMs: number },
): string {
  const lines = [`RobustMQ is listening; its data is in ${folder}`];
  for (const endpoint of endpoints) {
    const addresses = endpoint.hosts.map((host) => address(endpoint.name, hostAndPort(host, endpoint.port)));
    lines.push(`  ${endpoint.name.padEnd(15)}${addresses.join('  ')}`);
  }
  const tries = linesToTry(endpoints);
  if (tries.length > 0)
    lines.push('Try, each in a terminal of its own:', ...tries.map((line) => `  ${line}`));
  lines.push(`${readyPrefix}${Math.round(startMs)} ms`);
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
