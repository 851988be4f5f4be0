import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Path of a server's program. Distributions put servers into sbin, which is not on everybody's path. */
export function findCommand(name: string): string {
  const found = locate(name);
  if (found === null) throw new Error(`no command ${name} on this machine`);
  return found;
}

/**
 * The same; where it is missing, the Debian package of that name is downloaded and unpacked into `cache`,
 * which needs no rights and installs nothing. Only for programs that need no other package.
 */
export function debianCommand(name: string, cache: string): string {
  const found = locate(name);
  if (found !== null) return found;
  const folder = join(cache, name);
  const unpacked = join(folder, 'usr', 'sbin', name);
  if (existsSync(unpacked)) return unpacked;
  mkdirSync(folder, { recursive: true });
  try {
    execFileSync('apt-get', ['download', name], { cwd: folder, stdio: 'pipe' });
    const file = readdirSync(folder).find((each) => each.endsWith('.deb'));
    execFileSync('dpkg', ['-x', join(folder, file ?? ''), folder], { stdio: 'pipe' });
  } catch (error) {
    throw new Error(`no command ${name} on this machine, and no Debian package of it`, { cause: error });
  }
  if (!existsSync(unpacked)) throw new Error(`the package ${name} has no usr/sbin/${name}`);
  return unpacked;
}

function locate(name: string): string | null {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  const folder = folders.find((each) => each !== '' && existsSync(join(each, name)));
  return folder === undefined ? null : join(folder, name);
}
