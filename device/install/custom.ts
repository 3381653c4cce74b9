/** Hands the proven file over to the owner's installer: RAUC, SWUpdate, or any command. */
import { dirname } from 'node:path'
import { open } from 'node:fs/promises'
import type { Release } from '../../web/core/release/target.ts'
import { storageError } from '../storage/errors.ts'
import { differsFrom, environmentOf, type Installer, type InstallResult } from './installer.ts'
import { failureText, runCommand } from './run-command.ts'

export type CustomOptions = Readonly<{
  command: string
  rollbackCommand: string | undefined
  timeoutMs: number
  health: Readonly<{ command: string; timeoutMs: number }> | undefined
  artifactOf: (release: Release) => string
  signal: AbortSignal
}>

const unfit = (reason: string): InstallResult => ({ tag: 'unfit', reason })

export function createCustomInstaller(options: CustomOptions): Installer {
  async function run(
    what: string,
    command: string,
    release: Release,
    timeoutMs: number,
  ): Promise<InstallResult> {
    const artifact = options.artifactOf(release)
    const result = await runCommand(command, {
      env: environmentOf(release, artifact, 'custom'),
      cwd: dirname(artifact),
      timeoutMs,
      signal: options.signal,
    })
    return result.tag === 'failed' ? unfit(failureText(what, result)) : { tag: result.tag }
  }

  return {
    installedPath: (_plan, _release, artifact) => artifact,
    // The command has slots of its own, or none.
    prepare: () => Promise.resolve({ slot: 'a', previous: null }),
    async place(_plan, release, artifact) {
      try {
        const handle = await open(artifact, 'r')
        try {
          const differs = await differsFrom(release, handle)
          if (differs !== undefined) return unfit(`the file is not the release: ${differs}`)
        } finally {
          await handle.close()
        }
      } catch (error) {
        return unfit(storageError(error, artifact).message)
      }
      return run('the install command', options.command, release, options.timeoutMs)
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
