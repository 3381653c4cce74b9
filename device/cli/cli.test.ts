import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Writable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createLogTo } from '../log.ts'
import { commandHelp, findCommand, parseFlags, type Command } from './command.ts'

const run = (...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> =>
  new Promise((resolve) => {
    const main = fileURLToPath(new URL('../main.ts', import.meta.url))
    const node = ['--disable-warning=ExperimentalWarning', main, ...args]
    execFile(process.execPath, node, { timeout: 30_000 }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, stdout, stderr })
    })
  })

let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'satpatch-cli-'))
})
afterAll(() => rm(dir, { recursive: true, force: true }))

const command: Command = {
  verb: 'device run',
  summary: 'Runs.',
  argument: { name: 'FILE', help: 'a file' },
  flags: {
    port: { value: 'PORT', help: 'port' },
    stun: { value: 'X', help: 'x', many: true },
    reset: { help: 'anew' },
  },
  run: () => Promise.resolve(0),
}

describe('the grammar', () => {
  test('flags, repeated flags, switches and the argument are read', () => {
    const { flags, argument } = parseFlags(command, [
      '--port',
      '0',
      'a b',
      '--stun=x',
      '--stun',
      'y',
      '--reset',
    ])
    expect([
      flags.count('port'),
      flags.texts('stun'),
      flags.has('reset'),
      flags.has('json'),
      argument,
    ]).toEqual([0, ['x', 'y'], true, false, 'a b'])
  })

  test('what is not known is refused with the nearest word', () => {
    expect(() => parseFlags(command, ['f', '--prot', '1'])).toThrow('Did you mean --port?')
    expect(() => parseFlags(command, ['f', '--zebra'])).toThrow(/has no --zebra. satpatch device run --help/)
    expect(() => parseFlags(command, ['f', '--port'])).toThrow('--port needs a value')
    expect(() => parseFlags(command, ['f', '--port', '--reset'])).toThrow('--port needs a value')
    expect(() => parseFlags(command, ['f', '--port', '1', '--port', '2'])).toThrow('twice')
    expect(() => parseFlags(command, ['f', '--reset=1'])).toThrow('takes no value')
    expect(() => parseFlags(command, ['f', 'g'])).toThrow('one word too many')
    expect(() => parseFlags(command, [])).toThrow('needs FILE')
    expect(() => parseFlags(command, ['f', '--port', '1e3'])).toThrow('whole number')
    expect(() => findCommand([command], ['device', 'rnu'])).toThrow('Did you mean run?')
    expect(() => findCommand([command], ['devise'])).toThrow('Did you mean satpatch device?')
  })

  test('help names every flag and the exit codes', () => {
    const help = commandHelp(command)
    for (const word of ['FILE', '--port PORT', '--reset', '--json', 'Exit codes'])
      expect(help).toContain(word)
  })
})

describe('the program', () => {
  test('says its version and its verbs', async () => {
    expect((await run('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
    const help = await run('--help')
    expect(help.code).toBe(0)
    for (const verb of [
      'relay',
      'device init',
      'device run',
      'device status',
      'distributor run',
      'publish',
      'verify-receipts',
    ])
      expect(help.stdout).toContain(verb)
  })

  test('wrong usage ends with 2, a missing file with 1, both in words without a stack', async () => {
    const wrong = await run('relay', '--prot', '1')
    expect([wrong.code, wrong.stdout]).toEqual([2, ''])
    expect(wrong.stderr).toMatch(/^satpatch: .*--port/)
    const missing = await run('device', 'status', '--config', join(dir, 'none.toml'))
    expect(missing.code).toBe(1)
    expect(missing.stderr).toContain('device init --join CODE')
    expect(missing.stderr).not.toContain('    at ')
    const machine = await run('device', 'status', '--json', '--config', join(dir, 'none.toml'))
    expect(JSON.parse(machine.stdout)).toMatchObject({ error: { code: 'ConfigError' } })
  })

  test.each(['Promise.reject(error)', 'setTimeout(() => { throw error })'])(
    'what nobody caught ends with 1 and a line: %s',
    async (how) => {
      const module = new URL('../last-resort.ts', import.meta.url).href
      const code = `import { installLastResort } from '${module}'; installLastResort(); const error = new Error('EIO secret=abc'); setInterval(() => 0, 1000); ${how}`
      const ended = await new Promise<{ code: unknown; stderr: string }>((done) =>
        execFile(
          process.execPath,
          ['--input-type=module', '-e', code],
          { timeout: 30_000 },
          (error, _, stderr) => done({ code: error?.code, stderr }),
        ),
      )
      expect(ended.code).toBe(1)
      expect(ended.stderr).toMatch(/^satpatch: stopped by an unexpected error.*EIO secret=…/)
    },
  )

  test('a port in use and a data directory that cannot be are told', async () => {
    const server = createServer()
    await new Promise<void>((done) => server.listen(0, () => done()))
    const { port } = server.address() as AddressInfo
    const taken = await run('relay', '--port', String(port), '--data', join(dir, 'relay'))
    server.close()
    expect(taken.code).toBe(1)
    expect(taken.stderr).toContain(String(port))
    await writeFile(join(dir, 'file'), '')
    const unwritable = await run('relay', '--port', '0', '--data', join(dir, 'file', 'x'))
    expect(unwritable.code).toBe(1)
    expect(unwritable.stderr).not.toContain('    at ')
  })

  test('a relay that is not there, a number that is none and a wallet string with a typo are told; keys are 0600', async () => {
    await writeFile(join(dir, 'wallet'), 'nostr+walletconnect://abc')
    const typo = await run(
      'device',
      'init',
      '--vendor',
      'ab'.repeat(32),
      '--relay',
      'http://127.0.0.1:9',
      '--config',
      join(dir, 'device.toml'),
    )
    expect(typo.code).toBe(1)
    expect(typo.stderr).toContain('nothing was changed')
    await expect(stat(join(dir, 'device.toml'))).rejects.toThrow()
    const keys = join(dir, 'keys.json')
    const form = ['--product', 'p', '--release', '1', '--hardware', 'x', '--relay', 'http://127.0.0.1:9']
    const noRelay = await run('publish', join(dir, 'wallet'), '--keys', keys, '--new-keys', ...form)
    expect(noRelay.code).toBe(1)
    expect(noRelay.stderr).toContain('does not answer')
    expect((await stat(keys)).mode & 0o777).toBe(0o600)
    expect(noRelay.stderr).not.toContain(
      (JSON.parse(await readFile(keys, 'utf8')) as { keys: { root: string } }).keys.root,
    )
    const price = await run('distributor', 'run', '--price', 'cheap')
    expect([price.code, price.stdout]).toEqual([2, ''])
    expect(price.stderr).toContain('--price must be a whole number')
    const wallet = await run(
      'distributor',
      'run',
      '--wallet-file',
      join(dir, 'wallet'),
      '--data',
      join(dir, 'd'),
    )
    expect([wallet.code, wallet.stdout]).toEqual([2, ''])
    expect(wallet.stderr).toContain('3 characters instead of 64')
  })

  test('receipts that are no receipts are refused with 3', async () => {
    await writeFile(
      join(dir, 'r.json'),
      '{"receipts":[{"quote":"00","sig":"00","preimage":"00"}],"windows":[]}',
    )
    const bad = await run('verify-receipts', join(dir, 'r.json'), '--json')
    expect(bad.code).toBe(3)
    expect(JSON.parse(bad.stdout)).toMatchObject({ ok: false, receipts: 1, valid: 0 })
    await writeFile(join(dir, 'n.json'), '[]')
    expect((await run('verify-receipts', join(dir, 'n.json'))).code).toBe(3)
  })
}, 120_000)

test('no secret reaches a log, under its name or inside a text', () => {
  const lines: string[] = []
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString())
      done()
    },
  })
  const log = createLogTo('info', stream)
  const uri = `nostr+walletconnect://ab?relay=ws%3A%2F%2Fx&secret=${'cd'.repeat(32)}`
  log.info({ connection: uri, wallet: { secret: 'cdcdcd', preimage: 'cdcdcd' }, note: uri }, `opened ${uri}`)
  log.child({ part: 'x' }).error({ err: new Error(`failed for ${uri}`) })
  log.info('http://relay/vendor#admit=cdcdcd')
  expect(lines).toHaveLength(3)
  expect(lines.join('')).not.toContain('cdcdcd')
})
