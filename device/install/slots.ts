/**
 * A/B directory slots: `products/<product>/{a,b}/<file>` and a link `current`. The file is moved, never copied; the
 * link changes in one rename. A failed health check links the old slot back.
 */
import { chmod, lstat, mkdir, open, readlink, rename, rm, symlink, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { plainOf } from '../../web/core/release/confidential.ts'
import type { Plan, Slot } from '../../web/core/rollout/lifecycle.ts'
import type { Release } from '../../web/core/release/target.ts'
import { makeDirectory, syncDirectory, temporaryName } from '../storage/durable.ts'
import { errnoOf, storageError } from '../storage/errors.ts'
import {
  differsFrom,
  environmentOf,
  proveFile,
  replaced,
  unfit,
  unfitName,
  type Installer,
  type InstallResult,
} from './installer.ts'
import { failureText, runCommand } from './run-command.ts'

export type SlotOptions = Readonly<{
  /** `<data>/products` */
  productsDir: string
  health: Readonly<{ command: string; timeoutMs: number }> | undefined
  signal: AbortSignal
}>

const ok: InstallResult = { tag: 'ok' }

export function createSlotInstaller(options: SlotOptions): Installer {
  const home = (release: Release): string => join(options.productsDir, release.product)
  const slotDir = (plan: Plan, release: Release): string => join(home(release), plan.slot)
  const fileIn = (plan: Plan, release: Release): string => join(slotDir(plan, release), release.fileName)

  /** Makes `current` point at `slot`, or removes it; durable when it resolves. */
  async function link(directory: string, slot: Slot | null): Promise<void> {
    const current = join(directory, 'current')
    if (slot === null) {
      await unlink(current).catch((error: unknown) => {
        if (errnoOf(error) !== 'ENOENT') throw error
      })
    } else {
      const tmp = temporaryName(current)
      await symlink(slot, tmp)
      try {
        await rename(tmp, current)
      } catch (error) {
        await rm(tmp, { force: true })
        throw error
      }
    }
    await syncDirectory(directory)
  }

  return {
    async prepare(product) {
      const previous = await currentSlot(join(options.productsDir, product))
      return { slot: previous === 'a' ? 'b' : 'a', previous }
    },

    async place(plan, release, artifact) {
      const bad = unfitName(release.fileName)
      if (bad !== undefined) return unfit(bad)
      const target = fileIn(plan, release)
      if (plan.slot === (await currentSlot(home(release))))
        return unfit(`slot ${plan.slot} is the one that runs`)
      try {
        const source = await open(artifact, 'r').catch((error: unknown) => {
          if (errnoOf(error) === 'ENOENT') return undefined
          throw error
        })
        if (source === undefined) return await alreadyPlaced(release, target)
        try {
          await rm(slotDir(plan, release), { recursive: true, force: true })
          await mkdir(slotDir(plan, release), { recursive: true, mode: 0o755 })
          await source.sync()
          await rename(artifact, target)
          // By its path: Node's permission model knows no chmod of a handle.
          await chmod(target, 0o644)
          await syncDirectory(slotDir(plan, release))
          await syncDirectory(home(release))
          await syncDirectory(dirname(artifact))
          // Hashed through the handle that was moved, then the path must still lead to it: nothing can be slipped in.
          const differs = await differsFrom(plainOf(release), source)
          if (differs !== undefined)
            return replaced(`the file in slot ${plan.slot} is not the release: ${differs}`)
          const [mine, there] = await Promise.all([source.stat(), lstat(target)])
          if (mine.ino !== there.ino || mine.dev !== there.dev) {
            return replaced(`another file was put into slot ${plan.slot} during the installation`)
          }
          return ok
        } finally {
          await source.close()
        }
      } catch (error) {
        return unfit(storageError(error, target).message)
      }
    },

    async activate(plan, release) {
      const directory = home(release)
      try {
        const there = await lstat(join(directory, 'current')).catch(() => undefined)
        if (there !== undefined && !there.isSymbolicLink()) {
          return unfit(`${join(directory, 'current')} is not a link made by Satpatch; move it away`)
        }
        await link(directory, plan.slot)
        return ok
      } catch (error) {
        return unfit(storageError(error, directory).message)
      }
    },

    async check(plan, release) {
      if (options.health === undefined) return ok
      const result = await runCommand(options.health.command, {
        env: environmentOf(release, fileIn(plan, release), plan.slot),
        cwd: slotDir(plan, release),
        timeoutMs: options.health.timeoutMs,
        signal: options.signal,
      })
      return result.tag === 'failed' ? unfit(failureText('the health command', result)) : { tag: result.tag }
    },

    async restore(plan, release) {
      try {
        await makeDirectory(home(release))
        await link(home(release), plan.previous)
        return ok
      } catch (error) {
        return unfit(`the old slot could not be linked back: ${storageError(error, home(release)).message}`)
      }
    },
  }
}

/** The power went after the move: the file must prove itself where it is. */
async function alreadyPlaced(release: Release, target: string): Promise<InstallResult> {
  const differs = await proveFile(plainOf(release), target)
  return differs === undefined ? ok : unfit(`the file in the slot is not the release: ${differs}`)
}

/** Which slot `current` points at; `null` when there is none. */
export async function currentSlot(directory: string): Promise<Slot | null> {
  try {
    const target = await readlink(join(directory, 'current'))
    return target === 'a' || target === 'b' ? target : null
  } catch {
    return null
  }
}
