/**
 * The install step: a TUF client of its own beside the network process, with a root, floors and a record that the other
 * cannot write. It hears which release to install and the signed metadata that says so, verifies all of it again, and
 * installs from the handle that it has hashed (`slots.ts`, `custom.ts`). Whoever asks may have been taken over: signed,
 * newer, made for this device and in its turn is all that it ever installs.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import type { VendorId } from '../../web/core/bytes.ts'
import type { Release } from '../../web/core/release/target.ts'
import { isForeign, raisedBy } from '../../web/core/release/time-floor.ts'
import {
  begun,
  guardStateSchema,
  judgeLater,
  judgePlace,
  knownOf,
  mayInstall,
  newGuard,
  stateOfProduct,
  went,
  type GuardState,
  type Judged,
  type ProductState,
} from '../../web/core/rollout/install-guard.ts'
import type { Plan } from '../../web/core/rollout/lifecycle.ts'
import { keptRoot, refreshHanded } from '../../web/edge/release/handed.ts'
import { makeDirectory, writeDurably } from '../storage/durable.ts'
import { installPath } from '../storage/downloads.ts'
import { errnoOf, storageError } from '../storage/errors.ts'
import { openTextStore } from '../storage/text-store.ts'
import { createCustomInstaller } from './custom.ts'
import { unfit, type Installer, type InstallResult } from './installer.ts'
import type { InstallSettings } from './settings.ts'
import { createSlotInstaller } from './slots.ts'
import { productOf, type Question, type StepResult } from './step-messages.ts'
import { incomingFile, removeIncoming, takeIn } from './take-in.ts'

export type StepDeps = Readonly<{
  settings: InstallSettings
  nowMs: () => number
  /** Unix seconds before which no clock is plausible. */
  builtAtS: number
  signal: AbortSignal
  /** Descriptor of the file, where the step may not open it by its path. */
  handed?: number
}>
export interface InstallStep {
  /** Never throws. */
  answer(question: Question): Promise<StepResult>
}

class NotNow extends Error {
  readonly attack: string | undefined
  constructor(message: string, attack?: string) {
    super(message)
    this.attack = attack
  }
}

/** @throws StorageError when its own record cannot be read */
export async function openInstallStep(deps: StepDeps): Promise<InstallStep> {
  const { settings, signal } = deps
  const vendor = settings.vendor as VendorId
  await makeDirectory(settings.state_dir)
  await makeDirectory(settings.products_dir)
  const store = openTextStore(join(settings.state_dir, 'metadata'))
  const stateFile = join(settings.state_dir, 'install.json')
  let state = await readState(stateFile, vendor)
  const artifactOf = (release: Release): string =>
    settings.apart ? incomingFile(settings.products_dir) : installPath(settings.data_dir, release)
  const installer = installerOf(settings, artifactOf, signal)

  async function keep(next: GuardState): Promise<void> {
    if (next === state) return
    await writeDurably(stateFile, JSON.stringify(next))
    state = next
  }
  const keepProduct = (product: string, known: ProductState): Promise<void> =>
    keep({ ...state, products: { ...state.products, [product]: known } })

  /** The release as the vendor signed it, verified anew. @throws NotNow */
  async function signedRelease({
    release: { path, sha256 },
    files = {},
  }: Question): Promise<Release | undefined> {
    const root = await keptRoot(store)
    if (root !== undefined && isForeign(state, root)) {
      const { floorBy: _gone, ...rest } = state
      await keep({ ...rest, floorS: 0 })
    }
    const nowMs = Math.max(deps.nowMs(), deps.builtAtS * 1000, state.floorS * 1000)
    const result = await refreshHanded(files, { vendor, store, nowMs })
    switch (result.tag) {
      case 'ok': {
        const { current, releases } = result.verified
        const floor = raisedBy(state, current.root.signed, releases)
        if (floor.floorS !== state.floorS || floor.floorBy !== state.floorBy)
          await keep({ ...state, ...floor })
        return releases.find((one) => one.path === path && one.sha256 === sha256)
      }
      case 'refused':
        throw new NotNow(`the metadata that says so is refused. ${result.refusal.text}`, result.refusal.tag)
      case 'unreachable':
        throw new NotNow('the metadata that says so is not complete')
      case 'not-kept':
        throw new NotNow(result.text)
      default:
        return result satisfies never
    }
  }

  /** What was begun and never ended, of another release: what ran before it comes back first. */
  async function endOthers(release: Release): Promise<'ended' | 'stopped'> {
    const { pending, ...rest } = stateOfProduct(state, release.product)
    if (pending === undefined) return 'ended'
    if (pending.release.path === release.path && pending.release.sha256 === release.sha256) return 'ended'
    if (pending.at === 'switched') {
      const { tag } = await installer.restore(pending.plan, pending.release as Release)
      if (tag === 'stopped') return tag // it is on record, and begun again
    }
    await keepProduct(release.product, rest)
    return 'ended'
  }

  /** Nothing is promised here: `place` verifies. */
  async function plan({ release }: Question): Promise<StepResult> {
    const pending = knownOf(state, release)?.pending
    return { tag: 'ok', plan: pending?.plan ?? (await installer.prepare(productOf(release.path))) }
  }

  async function begin(question: Question): Promise<StepResult> {
    const release = await signedRelease(question)
    if (release === undefined)
      return unfit(`the vendor’s signed metadata does not name ${question.release.path} with these bytes`)
    const { product } = release
    if ((await endOthers(release)) === 'stopped') return { tag: 'stopped' }
    const why = mayInstall(state, release, { ...settings, handsOver: settings.command !== '' })
    if (why !== undefined) return unfit(why)
    const own = await installer.prepare(product)
    if (question.plan === undefined) return unfit('it was not said into which slot')
    const known = stateOfProduct(state, product)
    return carryOut(judgePlace(known, release, question.plan, own), release, async (plan) => {
      await keepProduct(product, begun(known, release, plan))
      const result = await place(plan, release)
      if (result.tag === 'ok')
        await keepProduct(product, went(stateOfProduct(state, product), 'place', release))
      return result
    })
  }

  async function goOn(
    ask: 'activate' | 'check' | 'restore',
    which: Question['release'],
  ): Promise<StepResult> {
    const known = knownOf(state, which)
    const release = known?.pending?.release as Release | undefined
    return carryOut(judgeLater(known, ask, which), release, async (plan, begunRelease) => {
      const result = await installer[ask](plan, begunRelease)
      if (result.tag !== 'ok') return result
      const { product } = begunRelease
      await keepProduct(product, went(stateOfProduct(state, product), ask, begunRelease))
      if (ask !== 'activate') await removeIncoming(settings.products_dir)
      return result
    })
  }

  async function carryOut(
    judged: Judged,
    release: Release | undefined,
    run: (plan: Plan, release: Release) => Promise<InstallResult>,
  ): Promise<StepResult> {
    if (judged.tag === 'refuse') return unfit(judged.reason)
    if (judged.tag === 'done' || release === undefined) return { tag: 'ok' }
    return run(judged.plan, release)
  }

  async function place(plan: Plan, release: Release): Promise<InstallResult> {
    if (settings.apart) {
      const trouble = await takeIn(settings.products_dir, release, {
        path: installPath(settings.data_dir, release),
        ...(deps.handed === undefined ? {} : { handed: deps.handed }),
      })
      if (trouble !== undefined) return unfit(trouble)
    }
    return installer.place(plan, release, artifactOf(release))
  }

  function answer(question: Question): Promise<StepResult> {
    if (question.ask === 'prepare') return plan(question)
    return question.ask === 'place' ? begin(question) : goOn(question.ask, question.release)
  }

  let turn: Promise<unknown> = Promise.resolve()
  return {
    answer(question) {
      const next = turn.then(() =>
        signal.aborted ? ({ tag: 'stopped' } as const) : answer(question).catch(asResult),
      )
      turn = next
      return next
    },
  }
}

function asResult(error: unknown): StepResult {
  if (error instanceof NotNow)
    return {
      tag: 'not-now',
      reason: error.message.slice(0, 2000),
      ...(error.attack === undefined ? {} : { attack: error.attack }),
    }
  const reason = error instanceof Error ? error.message : String(error)
  return { tag: 'not-now', reason: reason.slice(0, 2000) }
}

async function readState(file: string, vendor: VendorId): Promise<GuardState> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return newGuard(vendor)
    throw storageError(error, file)
  }
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), guardStateSchema), text)
  if (!parsed.success || parsed.output.vendor !== vendor)
    throw new Error(
      `${file} is not a record of this vendor’s that this version can read. Keep a copy of it, then move it away.`,
    )
  return parsed.output
}

function installerOf(
  settings: InstallSettings,
  artifactOf: (release: Release) => string,
  signal: AbortSignal,
): Installer {
  const health =
    settings.health_command === ''
      ? undefined
      : { command: settings.health_command, timeoutMs: settings.health_timeout_seconds * 1000 }
  if (settings.command === '')
    return createSlotInstaller({ productsDir: settings.products_dir, health, signal })
  return createCustomInstaller({
    command: settings.command,
    rollbackCommand: settings.rollback_command === '' ? undefined : settings.rollback_command,
    timeoutMs: settings.command_timeout_seconds * 1000,
    health,
    artifactOf,
    signal,
  })
}
