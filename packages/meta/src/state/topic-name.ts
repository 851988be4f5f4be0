const nameBytesMax = 249;
const publicName = /^[a-zA-Z0-9._-]{1,249}$/;
// eslint-disable-next-line no-control-regex -- names with control characters are what it excludes
const controlCharacter = /[\u0000-\u001f\u007f-\u009f]/;

/** Why a topic cannot have this name, or null. */
export function topicNameProblem(name: string, internal: boolean): string | null {
  if (internal) {
    if (!name.startsWith('__')) return 'an internal name begins with __';
    if (controlCharacter.test(name)) return 'it holds a control character';
    return Buffer.byteLength(name) <= nameBytesMax ? null : `it is longer than ${nameBytesMax} bytes`;
  }
  if (!publicName.test(name)) return `it is not 1 to ${nameBytesMax} of a-z, A-Z, 0-9, '.', '_' and '-'`;
  if (name === '.' || name === '..') return 'it is a path';
  return name.startsWith('__') ? 'names that begin with __ are internal' : null;
}

/** Why this is no tenant, or null. */
export function tenantProblem(tenant: string): string | null {
  const bytes = Buffer.byteLength(tenant);
  if (bytes === 0 || bytes > nameBytesMax) return `it is not 1 to ${nameBytesMax} bytes`;
  return controlCharacter.test(tenant) ? 'it holds a control character' : null;
}
