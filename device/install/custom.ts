/**
 * Hands the proven file over to the owner's installer: RAUC, SWUpdate, or any command. The command finds the very handle
 * that was hashed as file descriptor 3; for those that take a path only, the file is proven once more afterwards.
 */
import { dirname } from 'node:path'
import { lstat, open, type FileHandle } from 'node:fs/promises'
import { plainOf } from '../../web/core/release/confidential.ts'
import type { Release } from '../../web/core/release/target.ts'
import { storageError } from '../storage/errors.ts'
import {
  differsFrom,
  environmentOf,
  replaced,
  unfit,
  type Installer,
  type InstallResult,
} from './installer.ts'
import { failureText, runCommand } from './run-command.ts'

export type CustomOptions = Readonly<{
  command: string
  rollbackCommand: string | undefined
  timeoutMs: number
  health: Readonly<{ command: string; timeoutMs: number }> | undefined
  artifactOf: (release: Release) => string
  signal: AbortSignal
}>

export function createCustomInstaller(options: CustomOptions): Installer {
  async function run(
    what: string,
    command: string,
    release: Release,
    timeoutMs: number,
    proven?: FileHandle,
  ): Promise<InstallResult> {
    const artifact = options.artifactOf(release)
    const result = await runCommand(command, {
      env: environmentOf(release, artifact, 'custom'),
      cwd: dirname(artifact),
      timeoutMs,
      signal: options.signal,
      ...(proven === undefined ? {} : { fd: proven.fd }),
    })
    return result.tag === 'failed' ? unfit(failureText(what, result)) : { tag: result.tag }
  }

  return {
    // The command has slots of its own, or none.
    prepare: () => Promise.resolve({ slot: 'a', previous: null }),
    async place(_plan, release, artifact) {
      try {
        const handle = await open(artifact, 'r')
        try {
          const differs = await differsFrom(plainOf(release), handle)
          if (differs !== undefined) return replaced(`the file is not the release: ${differs}`)
          const result = await run('the install command', options.command, release, options.timeoutMs, handle)
          if (result.tag !== 'ok') return result
          return (await changedMeanwhile(release, handle, artifact)) ?? result
        } finally {
          await handle.close()
        }
      } catch (error) {
        return unfit(storageError(error, artifact).message)
      }
    },
    activate: () => Promise.resolve({ tag: 'ok' }),
    check(_plan, release) {
      if (options.health === undefined) return Promise.resolve({ tag: 'ok' })
      return run('the health command', options.health.command, release, options.health.timeoutMs)
    },
    restore(_plan, release) {
      if (options.rollbackCommand === undefined) {
        return Promise.resolve(unfit('no install.rollback_command is set, so nothing was undone'))
      }
      return run('the rollback command', options.rollbackCommand, release, options.timeoutMs)
    },
  }
}

/** A command that opened the path itself may have read what somebody put there after the proof. */
async function changedMeanwhile(
  release: Release,
  handle: FileHandle,
  artifact: string,
): Promise<InstallResult | undefined> {
  const differs = await differsFrom(plainOf(release), handle)
  if (differs !== undefined) return replaced(`the file was changed while it was installed: ${differs}`)
  const there = await lstat(artifact).catch(() => undefined)
  if (there === undefined) return undefined // taken away by the command
  const mine = await handle.stat()
  return mine.ino === there.ino && mine.dev === there.dev
    ? undefined
    : replaced('another file was put in its place while it was installed')
}
