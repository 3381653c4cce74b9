import { createHash } from 'node:crypto'
import {
  access,
  mkdir,
  mkdtemp,
  readFile,
  readlink,
  readdir,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Release } from '../../web/core/release/target.ts'
import {
  due,
  resume,
  announce,
  step,
  stateOf,
  reasonOf,
  type Event,
  type Job,
} from '../../web/core/rollout/lifecycle.ts'
import { createCustomInstaller } from './custom.ts'
import type { Installer, InstallResult } from './installer.ts'
import { MAX_OUTPUT_BYTES, runCommand } from './run-command.ts'
import { createSlotInstaller, currentSlot } from './slots.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'satpatch-install-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
const releaseOf = (version: string, content: string, fileName = 'Größe 1.bin'): Release =>
  ({
    product: 'pump',
    version,
    fileName,
    path: `pump/${version}/${fileName}`,
    bytes: Buffer.byteLength(content),
    sha256: sha256(content),
  }) as unknown as Release
const signal = new AbortController().signal
const slots = (health?: string, timeoutMs = 5000): Installer =>
  createSlotInstaller({
    productsDir: join(dir, 'products'),
    health: health === undefined ? undefined : { command: health, timeoutMs },
    signal,
  })
async function artifactWith(content: string): Promise<string> {
  await mkdir(join(dir, 'downloads'), { recursive: true })
  const path = join(dir, 'downloads', 'artifact')
  await writeFile(path, content)
  return path
}
const running = async (fileName = 'Größe 1.bin'): Promise<string | null> =>
  readFile(join(dir, 'products', 'pump', 'current', fileName), 'utf8').catch(() => null)

/** One thing that the state demands, done for real. */
async function act(job: Job, installer: Installer, artifact: string): Promise<Event | undefined> {
  const action = due(job)
  const { release } = job
  const as = (result: InstallResult, good: Event): Event =>
    result.tag === 'ok' ? good : { tag: 'unfit', reason: result.tag === 'unfit' ? result.reason : 'stopped' }
  switch (action.tag) {
    case 'prepare':
      return { tag: 'prepared', plan: await installer.prepare(release.product) }
    case 'place':
      return as(await installer.place(action.plan, release, artifact), { tag: 'placed' })
    case 'switch':
      return as(await installer.activate(action.plan, release), { tag: 'switched' })
    case 'check':
      return as(await installer.check(action.plan, release), { tag: 'passed', at: 1 })
    case 'restore': {
      const result = await installer.restore(action.plan, release)
      if (result.tag === 'unfit') return { tag: 'not-restored', reason: result.reason, at: 1 }
      return { tag: 'restored', at: 1 }
    }
    default:
      return undefined
  }
}
const verified = (release: Release): Job => {
  const bought = step(announce(release, 1), { tag: 'admitted', at: 1 })
  return step(bought, { tag: 'proven', at: 1 })
}
async function install(release: Release, installer: Installer, artifact: string): Promise<Job> {
  let job = verified(release)
  for (let event; (event = await act(job, installer, artifact)) !== undefined;) job = step(job, event)
  return job
}

describe('slots', () => {
  test('versions alternate, the file is moved, and what is linked is what was signed', async () => {
    for (const [version, slot] of [
      ['1', 'a'],
      ['2', 'b'],
      ['3', 'a'],
    ] as const) {
      const artifact = await artifactWith(`v${version}`)
      expect(stateOf(await install(releaseOf(version, `v${version}`), slots(), artifact))).toBe('healthy')
      expect(await running()).toBe(`v${version}`)
      expect(await currentSlot(join(dir, 'products', 'pump'))).toBe(slot)
      expect(await readdir(join(dir, 'downloads'))).toEqual([])
    }
  })

  test('a sick version is replaced by the old one, and the reason carries its last words', async () => {
    await install(releaseOf('1', 'one'), slots(), await artifactWith('one'))
    const job = await install(
      releaseOf('2', 'two'),
      slots('echo no pulse >&2; exit 3'),
      await artifactWith('two'),
    )
    expect(stateOf(job)).toBe('rolled back')
    expect(reasonOf(job)).toBe('the health command exited with code 3: no pulse')
    expect(await running()).toBe('one')
  })

  test('a sick first version leaves no link', async () => {
    const job = await install(releaseOf('1', 'one'), slots('false'), await artifactWith('one'))
    expect(stateOf(job)).toBe('rolled back')
    await expect(access(join(dir, 'products', 'pump', 'current'))).rejects.toThrow()
  })

  test('the health command learns what it judges', async () => {
    const command =
      'test "$SATPATCH_VERSION $SATPATCH_PRODUCT $SATPATCH_SLOT" = "1 pump a" && test "$(cat "$SATPATCH_ARTIFACT")" = one'
    expect(stateOf(await install(releaseOf('1', 'one'), slots(command), await artifactWith('one')))).toBe(
      'healthy',
    )
  })

  test('other bytes than the signed ones are never linked', async () => {
    await install(releaseOf('1', 'one'), slots(), await artifactWith('one'))
    const job = await install(releaseOf('2', 'two'), slots(), await artifactWith('twO'))
    expect(stateOf(job)).toBe('rolled back')
    expect(reasonOf(job)).toContain('is not the release: its SHA-256 is')
    expect(await running()).toBe('one')
  })

  test('a signed name that is a path is refused', async () => {
    const job = await install(releaseOf('1', 'one', '../x'), slots(), await artifactWith('one'))
    expect(reasonOf(job)).toContain('cannot be stored here')
    expect(await readdir(join(dir, 'downloads'))).toEqual(['artifact'])
  })

  test('a power cut after any step, before or after it was saved: same end', async () => {
    const scenario = fc.record({
      sick: fc.boolean(),
      first: fc.boolean(),
      cuts: fc.array(fc.record({ after: fc.nat({ max: 4 }), saved: fc.boolean() }), { maxLength: 4 }),
    })
    await fc.assert(
      fc.asyncProperty(scenario, async ({ sick, first, cuts }) => {
        await rm(join(dir, 'products'), { recursive: true, force: true })
        if (!first) await install(releaseOf('1', 'one'), slots(), await artifactWith('one'))
        const artifact = await artifactWith('two')
        const installer = () => slots(sick ? 'false' : undefined)
        let disk = verified(releaseOf('2', 'two'))
        for (const cut of [...cuts, undefined]) {
          let job = (disk = resume(disk))
          const fresh = installer()
          for (let at = 0; ; at++) {
            const event = await act(job, fresh, artifact)
            if (event === undefined) break
            job = step(job, event)
            if (cut?.after === at && !cut.saved) break
            disk = job
            if (cut?.after === at) break
          }
        }
        const tooOften = reasonOf(disk)?.includes('stopped 3 times') === true
        expect(stateOf(disk)).toBe(sick || tooOften ? 'rolled back' : 'healthy')
        expect(await running()).toBe(sick || tooOften ? (first ? null : 'one') : 'two')
      }),
      { numRuns: 30 },
    )
  })

  test('something else at `current` is left alone', async () => {
    await mkdir(join(dir, 'products', 'pump', 'current'), { recursive: true })
    const plan = { slot: 'a', previous: null } as const
    expect(await slots().activate(plan, releaseOf('1', 'x'))).toMatchObject({ tag: 'unfit' })
  })

  test('the link is replaced in one step: no temporary one is left', async () => {
    await install(releaseOf('1', 'one'), slots(), await artifactWith('one'))
    await install(releaseOf('2', 'two'), slots(), await artifactWith('two'))
    expect((await readdir(join(dir, 'products', 'pump'))).sort()).toEqual(['a', 'b', 'current'])
    expect(await readlink(join(dir, 'products', 'pump', 'current'))).toBe('b')
  })
})

describe('an installer of the owner’s own', () => {
  const custom = (command: string, rollbackCommand?: string, health?: string): Installer =>
    createCustomInstaller({
      command,
      rollbackCommand,
      timeoutMs: 5000,
      health: health === undefined ? undefined : { command: health, timeoutMs: 5000 },
      artifactOf: () => join(dir, 'downloads', 'artifact'),
      signal,
    })

  test('gets the proven file, and its rollback command undoes a sick one', async () => {
    const artifact = await artifactWith('one')
    const put = `cp "$SATPATCH_ARTIFACT" "${dir}/installed"`
    expect(stateOf(await install(releaseOf('1', 'one'), custom(put), artifact))).toBe('healthy')
    expect(await readFile(join(dir, 'installed'), 'utf8')).toBe('one')
    const undo = custom(put, `rm "${dir}/installed"`, 'false')
    expect(stateOf(await install(releaseOf('1', 'one'), undo, artifact))).toBe('rolled back')
    await expect(access(join(dir, 'installed'))).rejects.toThrow()
  })

  test('without a rollback command a sick one is told as failed', async () => {
    const job = await install(
      releaseOf('1', 'one'),
      custom('true', undefined, 'false'),
      await artifactWith('one'),
    )
    expect(stateOf(job)).toBe('failed')
    expect(reasonOf(job)).toContain('rollback_command')
  })

  test('is never given other bytes than the signed ones', async () => {
    const touch = custom(`touch "${dir}/installed"`, 'true')
    const job = await install(releaseOf('1', 'one'), touch, await artifactWith('other'))
    expect(stateOf(job)).toBe('rolled back')
    await expect(access(join(dir, 'installed'))).rejects.toThrow()
  })
})

describe('between the proof and the use (TOCTOU)', () => {
  const releaseOne = releaseOf('1', 'one')
  const swapped = { tag: 'unfit', attack: 'replaced-file' }

  test('the slots take what they hold a handle on: a link to a good file, or another file, is refused', async () => {
    const artifact = await artifactWith('one')
    await rename(artifact, `${artifact}.elsewhere`)
    await symlink(`${artifact}.elsewhere`, artifact)
    const installer = slots()
    const plan = await installer.prepare('pump')
    expect(await installer.place(plan, releaseOne, artifact)).toMatchObject(swapped)
    expect(await running()).toBeNull()
    await rm(artifact, { force: true })
    await artifactWith('two')
    expect(await installer.place(plan, releaseOne, artifact)).toMatchObject(swapped)
    expect(await running()).toBeNull()
  })

  const custom = (command: string): Installer =>
    createCustomInstaller({
      command,
      rollbackCommand: undefined,
      timeoutMs: 5000,
      health: undefined,
      artifactOf: () => join(dir, 'downloads', 'artifact'),
      signal,
    })
  const place = async (command: string): Promise<InstallResult> => {
    const installer = custom(command)
    return installer.place(await installer.prepare('pump'), releaseOne, await artifactWith('one'))
  }

  test('an installer finds the proven handle open, whatever stands at the path by then', async () => {
    const swap = 'rm "$SATPATCH_ARTIFACT"; echo evil > "$SATPATCH_ARTIFACT"'
    expect(await place(`${swap}; cat <&3 > "${dir}/installed"`)).toMatchObject(swapped)
    expect(await readFile(join(dir, 'installed'), 'utf8')).toBe('one')
  })

  test('a file that was changed in place while it was installed is told as an attack', async () => {
    expect(await place('printf two > "$SATPATCH_ARTIFACT"')).toMatchObject(swapped)
    expect(await place('rm "$SATPATCH_ARTIFACT"')).toEqual({ tag: 'ok' })
  })

  test('no command sees our secrets in its environment', async () => {
    vi.stubEnv('SATPATCH_WALLET', 'nostr+walletconnect://secret')
    const result = await runCommand('env', {
      env: { SATPATCH_VERSION: '1' },
      cwd: dir,
      timeoutMs: 5000,
      signal,
    })
    vi.unstubAllEnvs()
    expect(result.tag === 'ok' && result.output).toContain('SATPATCH_VERSION=1')
    expect(result.tag === 'ok' && result.output).not.toContain('walletconnect')
  })
})

describe('a command', () => {
  const run = (command: string, timeoutMs = 5000, at = signal) =>
    runCommand(command, { env: {}, cwd: dir, timeoutMs, signal: at })

  test('that outlives its time is ended with all it started', async () => {
    const result = await run('echo begun; sleep 60 & sleep 60', 150)
    expect(result).toEqual({ tag: 'failed', how: 'did not finish within 0.15 s', output: 'begun' })
  })

  test('may have more time than a timer can wait', async () => {
    expect(await run('sleep 0.1; echo done', 365 * 86_400_000)).toEqual({ tag: 'ok', output: 'done' })
  })

  test('keeps a bounded tail of its output', async () => {
    const result = await run('head -c 100000 /dev/zero | tr "\\0" x; echo end')
    expect(result.tag === 'ok' && result.output.endsWith('xend')).toBe(true)
    expect(result.tag === 'ok' && result.output.length).toBeLessThanOrEqual(MAX_OUTPUT_BYTES)
  })

  test('stops when the device stops', async () => {
    const stop = new AbortController()
    const result = run('sleep 60', 60_000, stop.signal)
    stop.abort()
    expect(await result).toEqual({ tag: 'stopped' })
    expect(await run('true', 1000, stop.signal)).toEqual({ tag: 'stopped' })
  })

  test('may leave a service running behind', async () => {
    expect(await run('sleep 3 & echo started')).toEqual({ tag: 'ok', output: 'started' })
  })
})
