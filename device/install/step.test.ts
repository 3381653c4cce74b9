/** A network process that was taken over speaks to a real install step: signed, newer, for this device, or nothing. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { chownSync } from 'node:fs'
import {
  chmod,
  mkdir,
  mkdtemp,
  open,
  readFile,
  readdir,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { fromUtf8, sha256Hex, utf8, type Sha256Hex } from '../../web/core/bytes.ts'
import type { TargetEntry } from '../../web/core/release/repository.ts'
import {
  signWith,
  testEntry,
  testKey,
  testKeys,
  testRepository,
} from '../../web/core/release/test-repository.ts'
import type { Plan } from '../../web/core/rollout/lifecycle.ts'
import { childLink, permissionFlags, strippedEnvironment } from './links.ts'
import { openInstallStep } from './step.ts'
import { remoteInstaller } from './step-link.ts'
import type { InstallSettings } from './settings.ts'
import { linesOf, type Question, type StepResult } from './step-messages.ts'

const NOW = Date.now()
const isRoot = process.geteuid?.() === 0
const start = new URL('../start.ts', import.meta.url).pathname
let dir = ''
const at = (...parts: string[]): string => join(dir, ...parts)

/** Every version's content is its name. */
const entry = (version: string, more: Partial<TargetEntry['custom']> = {}): TargetEntry => {
  const bytes = utf8(`pump ${version}`)
  const infoHash = sha256Hex(utf8(version)).slice(0, 40) as TargetEntry['custom']['infoHash']
  const made = testEntry(version, { infoHash, releasedAt: Math.floor(NOW / 1000) - 60, ...more })
  return { ...made, bytes: bytes.length, sha256: sha256Hex(bytes) }
}
const artifact = ({ custom }: TargetEntry): string => at('net', 'downloads', custom.infoHash, 'artifact')
async function bought(one: TargetEntry, content = `pump ${one.custom.version}`): Promise<void> {
  await mkdir(at('net', 'downloads', one.custom.infoHash), { recursive: true })
  await rm(artifact(one), { force: true })
  await writeFile(artifact(one), content)
}
const textsOf = (files: Readonly<Record<string, Uint8Array>>): Record<string, string> =>
  Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, fromUtf8(bytes)]))

const repository = testRepository(NOW)
const settings = (socket: string): InstallSettings => ({
  version: 1,
  vendor: repository.vendor,
  hardware: 'rpi4',
  products: ['pump'],
  data_dir: at('net'),
  state_dir: at('step', 'state'),
  products_dir: at('step', 'products'),
  apart: false,
  socket,
  health_command: '',
  health_timeout_seconds: 5,
  command: '',
  command_timeout_seconds: 5,
  rollback_command: '',
})
const running = (): Promise<string> =>
  readdir(at('step', 'products', 'pump', 'current')).then(([name = '']) =>
    readFile(at('step', 'products', 'pump', 'current', name), 'utf8'),
  )

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'satpatch-step-'))
  await mkdir(at('net'), { recursive: true })
})
afterAll(() => rm(dir, { recursive: true, force: true }))

describe('behind a socket', () => {
  const children: ChildProcess[] = []
  let socketFile = ''
  beforeAll(async () => {
    socketFile = at('run', 'step.sock')
    await writeFile(
      at('install.toml'),
      Object.entries(settings(socketFile))
        .map(([key, value]) => `${key} = ${JSON.stringify(value)}`)
        .join('\n'),
    )
    await startStep()
  })
  afterAll(() => children.forEach((child) => child.kill('SIGKILL')))

  async function startStep(): Promise<ChildProcess> {
    const child = spawn(process.execPath, [start, 'install-step', '--settings', at('install.toml')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    children.push(child)
    for await (const line of createInterface({ input: child.stdout! })) {
      expect(line).toContain('listening')
      break
    }
    return child
  }

  let lines: AsyncGenerator<string>
  let socket: Socket
  beforeEach(() => {
    socket = connect(socketFile)
    socket.on('error', () => undefined)
    lines = linesOf(socket)
    return () => socket.destroy()
  })
  async function ask(question: Omit<Question, 'id'>): Promise<StepResult> {
    socket.write(`${JSON.stringify({ id: 7, ...question })}\n`)
    const { value } = await lines.next()
    return (JSON.parse(String(value)) as { result: StepResult }).result
  }
  type Asked = Partial<Pick<Question, 'files' | 'plan'>>
  const askFor = (what: Question['ask'], { path, sha256 }: TargetEntry, more: Asked = {}) =>
    ask({ ask: what, release: { path, sha256: sha256 as never }, ...more })
  async function planFor(one: TargetEntry): Promise<Plan> {
    const result = await askFor('prepare', one)
    return (result as { plan: Plan }).plan
  }
  const place = async (one: TargetEntry, files: Record<string, string> = textsOf(repository.files)) =>
    askFor('place', one, { files, plan: await planFor(one) })
  async function install(one: TargetEntry): Promise<void> {
    expect(await place(one)).toEqual({ tag: 'ok' })
    const plan = await planFor(one)
    expect(await askFor('activate', one, { plan })).toEqual({ tag: 'ok' })
    expect(await askFor('check', one, { plan })).toEqual({ tag: 'ok' })
  }
  /** A release of another vendor's keys, under the pinned root. */
  const forged = (entries: TargetEntry[]): Record<string, string> => {
    const thief = testRepository(NOW, { ...testKeys, targets: testKey('thief') })
    for (let version = 1; version <= 3; version++) thief.publish(entries)
    return { ...textsOf(thief.files), '1.root.json': fromUtf8(repository.files['1.root.json']!) }
  }

  const one = entry('1.0')
  const two = entry('2.0')
  const three = entry('3.0')
  let older: Record<string, string>

  test('installs what is signed, newer and for this device, from a copy of its own', async () => {
    repository.publish([one])
    older = textsOf(repository.files)
    repository.publish([one, two])
    await bought(two)
    await install(two)
    expect(await running()).toBe('pump 2.0')
    // What runs is no file of the network process's any more: writing on in its own changes nothing.
    await writeFile(artifact(two), 'evil 2.0')
    expect(await running()).toBe('pump 2.0')
  })

  test('nothing unsigned: neither metadata of other keys, nor other bytes, nor a path that nobody signed', async () => {
    const evil = entry('9.0')
    await bought(evil)
    expect(await place(evil, forged([evil]))).toMatchObject({ tag: 'not-now', attack: 'arbitrary-software' })
    // The way out after the relay's keys had signed along: versions beyond.
    for (let version = 3; version <= 4; version++) repository.publish([one, two, three])
    expect(await place(evil)).toMatchObject({
      tag: 'unfit',
      reason: expect.stringContaining('does not name'),
    })
    await bought(three, 'pump 3.!')
    expect(await place(three)).toMatchObject({ tag: 'unfit', attack: 'replaced-file' })
    await bought(three, `pump 3.0${'!'.repeat(1e6)}`)
    expect(await place(three)).toMatchObject({ tag: 'unfit', attack: 'replaced-file' })
    expect(await running()).toBe('pump 2.0')
  })

  test('nothing older: neither by old metadata, nor an old release of the newest', async () => {
    await bought(one)
    expect(await place(one, older)).toMatchObject({ tag: 'not-now', attack: 'rollback' })
    expect(await place(one)).toMatchObject({ tag: 'unfit', reason: expect.stringContaining('not newer') })
    expect(await place(two)).toMatchObject({ tag: 'unfit', reason: expect.stringContaining('not newer') })
    expect(await running()).toBe('pump 2.0')
  })

  test('nothing that is for other devices, other products, another installer, or a delta', async () => {
    const foreign = entry('4.0', { hardware: ['toaster'] })
    const valve = entry('5.0', { product: 'valve' })
    const image = entry('6.0', { installer: 'rauc' })
    const delta = entry('6.1', { deltaFrom: three.sha256 as Sha256Hex })
    repository.publish([one, two, three, foreign, valve, image, delta])
    for (const other of [foreign, valve, image, delta]) {
      await bought(other)
      expect(await place(other)).toMatchObject({ tag: 'unfit', reason: expect.stringMatching(/ is /) })
    }
    expect(await readdir(at('step', 'products'))).not.toContain('valve')
  })

  test('nothing out of turn: no switch without a proof, no way back from what is healthy', async () => {
    const there: Plan = { slot: 'a', previous: 'b' }
    for (const slot of ['a', 'b'] as const) {
      const plan = { slot, previous: slot === 'a' ? 'b' : 'a' } as const
      expect(await askFor('activate', three, { plan })).toMatchObject({ tag: 'unfit' })
      expect(await askFor('restore', two, { plan })).toMatchObject({ tag: 'unfit' })
    }
    expect(await askFor('check', three, { plan: there })).toMatchObject({ tag: 'unfit' })
    expect(await askFor('restore', three, { plan: there })).toEqual({ tag: 'ok' })
    expect(await running()).toBe('pump 2.0')
  })

  test('bytes that are swapped after the check, links and pipes in place of the file', async () => {
    await bought(three)
    const held = await open(artifact(three), 'r+')
    expect(await place(three)).toEqual({ tag: 'ok' })
    await held.write('evil')
    await held.close()
    const plan = await planFor(three)
    expect(await askFor('activate', three, { plan })).toEqual({ tag: 'ok' })
    expect(await running()).toBe('pump 3.0')
    expect(await askFor('restore', three, { plan })).toEqual({ tag: 'ok' })
    expect(await running()).toBe('pump 2.0')

    await rm(artifact(three))
    await writeFile(at('net', 'elsewhere'), 'pump 3.0')
    await symlink(at('net', 'elsewhere'), artifact(three))
    expect(await place(three)).toMatchObject({ tag: 'unfit' })
    await rm(artifact(three))
    spawnSync('mkfifo', [artifact(three)])
    expect(await place(three)).toMatchObject({ tag: 'unfit', reason: expect.stringContaining('not a file') })
  })

  test('of a confidential release it installs the plain file that was signed: neither what travels, nor another plain one', async () => {
    const plain = 'pump 2.5'
    const listed = utf8('the list of wrapped keys')
    const keys = { path: 'pump/2.5/fw.bin.keys', bytes: listed.length, sha256: sha256Hex(listed) }
    const made = entry('2.5')
    const travels = utf8('PUMP#2.5')
    const sealed: TargetEntry = {
      ...made,
      sha256: sha256Hex(travels),
      keys,
      custom: {
        ...made.custom,
        encrypted: {
          cipher: 'AES-256-CTR',
          bytes: plain.length,
          sha256: sha256Hex(utf8(plain)),
          keys: keys.path,
        },
      },
    }
    repository.publish([one, two, three, sealed])
    await bought(sealed, fromUtf8(travels))
    const opened = join(dirname(artifact(sealed)), 'plain')
    // The network process, which has the key, may say that anything is the plain file.
    for (const lie of [fromUtf8(travels), 'evil 2.5']) {
      await writeFile(opened, lie)
      expect(await place(sealed)).toMatchObject({ tag: 'unfit', attack: 'replaced-file' })
    }
    expect(await running()).toBe('pump 2.0')
    await writeFile(opened, plain)
    await install(sealed)
    expect(await running()).toBe(plain)
    // What is sold on stays as it was bought.
    expect(await readFile(artifact(sealed), 'utf8')).toBe(fromUtf8(travels))
  })

  test('words that are no question end the connection, not the step', async () => {
    for (const line of [
      '{}',
      'hello',
      '{"id":1,"ask":"place","release":{"path":"../../etc/x","sha256":"00"}}',
    ]) {
      const other = connect(socketFile)
      other.write(`${line}\n`)
      const closed = new Promise((resolve) => other.once('close', resolve))
      other.resume()
      await closed
    }
    expect(await place(one)).toMatchObject({ tag: 'unfit' })
  })

  test('killed between any two answers, it goes on from its own record; a new root is followed', async () => {
    const fresh = testKey('fresh targets')
    repository.files['2.root.json'] = signWith(
      repository.rootOf(2, { ...repository.publics, targets: [fresh.public] }),
      testKeys.root,
    )
    const turned = testRepository(NOW, { ...testKeys, targets: fresh })
    for (let i = 0; i < 7; i++) turned.publish([one, two, three])
    const files = { ...textsOf(turned.files), ...textsOf({ '2.root.json': repository.files['2.root.json'] }) }
    files['1.root.json'] = fromUtf8(repository.files['1.root.json']!)
    await bought(three)
    expect(await place(three, files)).toEqual({ tag: 'ok' })
    const plan = await planFor(three)
    const [old] = children
    old?.kill('SIGKILL')
    await new Promise((resolve) => old?.once('exit', resolve))
    if (isRoot) chownSync(at('net'), 65_534, 65_534)
    await startStep()
    socket = connect(socketFile)
    lines = linesOf(socket)
    expect(await askFor('activate', three, { plan })).toEqual({ tag: 'ok' })
    expect(await askFor('check', three, { plan })).toEqual({ tag: 'ok' })
    expect(await askFor('check', three, { plan })).toEqual({ tag: 'ok' })
    expect(await running()).toBe('pump 3.0')
  })

  test.runIf(isRoot)('another user reaches the socket, and nothing else that is the step’s', async () => {
    await chmod(dir, 0o711)
    expect((await stat(at('run'))).uid).toBe(65_534)
    expect((await stat(at('run'))).mode & 0o777).toBe(0o700)
    const tries = `
        const fs = require('node:fs'), net = require('node:net')
        const said = {}
        for (const path of ${JSON.stringify([at('step', 'state', 'install.json'), at('step', 'products', 'pump', 'x'), at('install.toml')])})
          try { fs.appendFileSync(path, 'x'); said[path] = 'written' } catch (error) { said[path] = error.code }
        net.connect(${JSON.stringify(socketFile)}).once('connect', () => { console.log(JSON.stringify(said)); process.exit() })`
    const { stdout } = spawnSync(process.execPath, ['-e', tries], { uid: 65_534, gid: 65_534 })
    expect(Object.values(JSON.parse(stdout.toString()) as object)).toEqual(['EACCES', 'EACCES', 'EACCES'])
  })
})

describe('as a child', () => {
  test('it sees no secret of ours, may start nothing where no command is set, and ends with us', async () => {
    expect(
      strippedEnvironment({ PATH: '/bin', SATPATCH_WALLET: 's', NODE_OPTIONS: 'x', LD_PRELOAD: 'y' }),
    ).toEqual({
      PATH: '/bin',
    })
    expect(permissionFlags(settings(''))).toContain('--permission')
    const four = entry('4.1')
    const other = testRepository(NOW)
    other.publish([four])
    await bought(four)
    const stopper = new AbortController()
    const link = childLink({
      settings: {
        ...settings(''),
        vendor: other.vendor,
        state_dir: at('child', 'state'),
        products_dir: at('child', 'products'),
        health_command: 'env > ../env; until [ -e never ]; do sleep 0.05; done',
        health_timeout_seconds: 60,
      },
      signal: stopper.signal,
      artifactOf: () => artifact(four),
    })
    const installer = remoteInstaller(link, () => Promise.resolve(textsOf(other.files)))
    const release = {
      ...four.custom,
      path: four.path,
      bytes: four.bytes,
      sha256: four.sha256 as never,
    } as never
    const plan = (await installer.prepare(release))!
    expect(await installer.run('place', plan, release)).toEqual({ tag: 'ok' })
    expect(await installer.run('activate', plan, release)).toEqual({ tag: 'ok' })
    process.env['SATPATCH_TEST_SECRET'] = 'hidden'
    const checking = installer.run('check', plan, release)
    await expect
      .poll(() => readFile(at('child', 'products', 'pump', 'env'), 'utf8').catch(() => ''))
      .toContain('PWD=')
    expect(await readFile(at('child', 'products', 'pump', 'env'), 'utf8')).not.toMatch(/hidden|NODE_OPTIONS/)
    stopper.abort()
    expect(await checking).toEqual({ tag: 'stopped' })
    await link.close()
  })
})

test('a way back that the end of the step cuts off is gone again by the next one', async () => {
  const [five, six] = [entry('5.0'), entry('6.0')]
  const own = testRepository(NOW)
  own.publish([five, six])
  await bought(five)
  await bought(six)
  const opened = (rollback_command: string, signal: AbortSignal) =>
    openInstallStep({
      settings: {
        ...settings(''),
        vendor: own.vendor,
        state_dir: at('custom', 'state'),
        products_dir: at('custom', 'products'),
        command: 'true',
        rollback_command,
      },
      nowMs: () => NOW,
      builtAtS: 0,
      signal,
    })
  const plan: Plan = { slot: 'a', previous: null }
  const question = (ask: Question['ask'], { path, sha256 }: TargetEntry): Question => ({
    ...{ id: 1, ask, release: { path, sha256: sha256 as Sha256Hex }, plan },
    ...(ask === 'place' && { files: textsOf(own.files) }),
  })
  const stopper = new AbortController()
  const begun = at('rollback-begun')
  const first = await opened(`touch ${begun}; until [ -e never ]; do sleep 0.05; done`, stopper.signal)
  expect(await first.answer(question('place', five))).toEqual({ tag: 'ok' })
  expect(await first.answer(question('activate', five))).toEqual({ tag: 'ok' })
  const next = first.answer(question('place', six))
  await expect.poll(() => readdir(dir)).toContain('rollback-begun')
  stopper.abort()
  expect(await next).toEqual({ tag: 'stopped' })
  const undone = at('rollback-done')
  const second = await opened(`touch ${undone}`, new AbortController().signal)
  expect(await second.answer(question('place', six))).toEqual({ tag: 'ok' })
  expect(await readdir(dir)).toContain('rollback-done')
})
