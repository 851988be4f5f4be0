import { isIP } from 'node:net';

/** The headers that tell which page asks for what. */
export interface RequestOrigin {
  readonly host: string | undefined;
  readonly origin: string | undefined;
}

/**
 * Why a request is refused, or null. Until authentication exists, being on this machine is what protects the API, and a
 * web page in a browser on this machine must not get round that: neither from its own origin, nor under a name of its
 * own that it made resolve to a loopback address. `namesAllowed`: other machines may come in, under any name.
 */
export function refuseOrigin({ host, origin }: RequestOrigin, namesAllowed: boolean): string | null {
  if (origin !== undefined && originHost(origin) !== host) return `pages of ${origin} may not ask`;
  if (namesAllowed || host === undefined) return null;
  const name = host.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  return name === 'localhost' || isIP(name) !== 0 ? null : `${name} is not a name of this listener`;
}

function originHost(origin: string): string | null {
  return URL.canParse(origin) ? new URL(origin).host : null;
}
