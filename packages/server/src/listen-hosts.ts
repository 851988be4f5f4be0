/** Words for `host` with a meaning of their own. */
export const hostOf = { loopback: 'localhost' } as const;

/** What `localhost` binds: no name service is asked. */
export const loopbackHosts = ['127.0.0.1', '::1'] as const;

/** The addresses to bind for a `host` of the configuration. */
export function hostsOf(host: string): readonly string[] {
  return host === hostOf.loopback ? loopbackHosts : [host];
}

/** Whether an address can be reached from this machine only. */
export function isLoopback(host: string): boolean {
  return host === hostOf.loopback || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** Whether it stands for all addresses of the machine, so that no client can be told to connect to it. */
export function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || /^[0:]*:[0:]*$/.test(host);
}

/** `host:port`, with brackets where the host is IPv6. */
export function hostAndPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Takes `host` or `host:port` apart; an IPv6 host stands in brackets. */
export function parseAdvertised(text: string): { host: string; port: number | null } {
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(text);
  if (match === null) return { host: text, port: null };
  return { host: match[1] ?? match[2]!, port: match[3] === undefined ? null : Number(match[3]) };
}
