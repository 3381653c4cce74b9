/** Which install step a device asks: one of its own, started for each installation, or another user's. */
import { chmodSync, chownSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { childLink, socketLink } from '../install/links.ts'
import { ConfigError, type DeviceConfig } from '../config/config.ts'
import { settingsOf } from './installing.ts'
import type { Ports } from './ports.ts'

type User = Readonly<{ uid: number; gid: number }>

export const openInstallStep: Ports['openInstallStep'] = ({ config, signal, artifactOf }) => {
  if (config.installSocket !== undefined) return socketLink(config.installSocket, signal)
  const settings = settingsOf(config)
  const user = config.installUser === undefined ? undefined : userOf(config.installUser, config)
  if (user !== undefined) {
    // The step goes through the data directory to its own; it can list nothing there, and open nothing of ours.
    chmodSync(config.dataDir, 0o711)
    const closed = closedTo(user, config.dataDir)
    if (closed !== undefined)
      throw new ConfigError(
        `${config.file}: "install.user": ${config.installUser ?? ''} cannot go through ${closed} to what it installs. Allow it (chmod o+x ${closed}), or keep "data_dir" elsewhere.`,
        'install.user',
      )
    for (const directory of [settings.state_dir, settings.products_dir]) {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      chownSync(directory, user.uid, user.gid)
    }
  }
  return childLink({ settings, signal, artifactOf, ...(user === undefined ? {} : { user }) })
}

/** The first directory on the way to `path` that the user may not go through. */
function closedTo({ uid, gid }: User, path: string): string | undefined {
  const above = dirname(path)
  const first = above === path ? undefined : closedTo({ uid, gid }, above)
  if (first !== undefined) return first
  const { mode, uid: owner, gid: group } = statSync(path)
  const bit = owner === uid ? 0o100 : group === gid ? 0o010 : 0o001
  return (mode & bit) === 0 ? path : undefined
}

/** From /etc/passwd. @throws ConfigError */
function userOf(name: string, config: DeviceConfig): User {
  const key = 'install.user'
  if (process.geteuid?.() !== 0)
    throw new ConfigError(`${config.file}: "${key}" takes a device that is started by root.`, key)
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((row) => row.startsWith(`${name}:`))
  const [, , uid, gid] = line?.split(':') ?? []
  if (uid === undefined || gid === undefined)
    throw new ConfigError(`${config.file}: "${key}": this machine has no user ${name}.`, key)
  return { uid: Number(uid), gid: Number(gid) }
}
