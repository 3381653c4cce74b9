import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { composeConnection } from '../../web/core/wallet/connection.ts'
import { nearest } from '../cli/suggest.ts'
import { ConfigError, iceServer, parseConfig, readConfig } from './config.ts'
import { deviceToml, withWalletConnection } from './template.ts'

const key = 'ab'.repeat(32)
const connection = composeConnection({
  wallet: key,
  relays: ['ws://localhost:8787/nostr'],
  secret: 'cd'.repeat(32),
})
const toml = deviceToml({
  name: 'Pumpe "7"',
  hardware: 'pi4',
  dataDir: 'data',
  vendor: key,
  relays: ['http://localhost:8787/'],
  trackers: [],
  deviceSecret: '01'.repeat(32),
  walletClientSecret: '02'.repeat(32),
  walletConnection: '',
  products: [],
  healthCommand: '',
  priceCapMsat: 2500,
})
const errorOf = (source: string): ConfigError => {
  try {
    parseConfig(source, 'device.toml')
  } catch (error) {
    if (error instanceof ConfigError) return error
    throw error
  }
  throw new Error('it was accepted')
}

describe('device.toml', () => {
  test('what is written reads back', () => {
    const config = parseConfig(toml, '/etc/satpatch/device.toml')
    expect(config).toMatchObject({
      name: 'Pumpe "7"',
      dataDir: '/etc/satpatch/data',
      relays: ['http://localhost:8787'],
      walletConnection: undefined,
      priceCap: 2500,
      bytesPerDay: undefined,
      unprovenBudget: undefined,
      health: undefined,
    })
    expect(config.identity.key).toMatch(/^[0-9a-f]{64}$/)
  })

  test('what may be at stake with new sellers is the owner’s word, if there is one', () => {
    const said = toml.replace('# risk_sats_unproven = 100', 'risk_sats_unproven = 7')
    expect(said).not.toBe(toml)
    expect(parseConfig(said, 'device.toml').unprovenBudget).toBe(7000)
  })

  test('a mistake is named with file, key and what to do', () => {
    const cases: [string | RegExp, string, string | RegExp][] = [
      ['hardware = "pi4"', 'hardwear = "pi4"', /"hardware" is missing/],
      [
        '[limits]',
        '[limits]\nbytes_per_dya = 3',
        /"limits.bytes_per_dya" is not a setting. Did you mean bytes_per_day\?/,
      ],
      [
        'bytes_per_day = 0',
        'bytes_per_day = "1 GB"',
        /"limits.bytes_per_day" must be bytes .* whole number without quotes/,
      ],
      ['bytes_per_day = 0', 'bytes_per_day = -1', /at least 0/],
      [`root = "${key}"`, 'root = "abc"', /"vendor.root" must be the vendor’s id: 64 characters/],
      ['["http://localhost:8787/"]', '["localhost:8787"]', /"vendor.relays.0" must be an address/],
      ['["http://localhost:8787/"]', '[]', /at least one relay/],
      ['name = "Pumpe', 'name = Pumpe', /device.toml, line \d+: .*quotes/],
      ['version = 1', 'version = 2', /"version" must be 1/],
    ]
    for (const [from, to, message] of cases) {
      const changed = toml.replace(from, to)
      expect(changed).not.toBe(toml)
      expect(errorOf(changed).message).toMatch(message)
      expect(errorOf(changed).message).toMatch(/^device.toml/)
    }
  })

  test('a wallet string with a typo is refused in words that do not contain it', () => {
    const typo = connection.replace('cdcd', 'cxd')
    const error = errorOf(toml.replace('connection = ""', `connection = "${typo}"`))
    expect(error.key).toBe('wallet.connection')
    expect(error.message).toMatch(/^device.toml: "wallet.connection" cannot be used. The connection's secret/)
    expect(error.message).not.toContain('cdcdcd')
  })

  test('a broken line that holds a secret is not quoted', () => {
    const error = errorOf(toml.replace('connection = ""', `connection = "${connection}`))
    expect(error.message).not.toContain('cdcdcd')
  })

  test('the wallet connection is filled in, comments stay', () => {
    const next = withWalletConnection(toml, 'device.toml', connection)
    expect(parseConfig(next, 'device.toml').walletConnection).toBe(connection)
    expect(next.split('\n').length).toBe(toml.split('\n').length)
    expect(next.replace(connection, '')).toBe(toml)
    const without = toml.replace(/\[wallet\]\n.*\nconnection = ""\n/, '')
    expect(parseConfig(withWalletConnection(without, 'f', connection), 'f').walletConnection).toBe(connection)
    expect(() => withWalletConnection(toml, 'device.toml', 'nonsense')).toThrow(ConfigError)
  })

  test('a file that is not there says how to make one', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'satpatch-config-'))
    await expect(readConfig(join(dir, 'device.toml'))).rejects.toThrow('satpatch device init --join CODE')
    await rm(dir, { recursive: true })
  })

  test('TURN credentials are taken apart', () => {
    expect(iceServer('turn:me:secret@host:3478')).toEqual({
      urls: 'turn:host:3478',
      username: 'me',
      credential: 'secret',
    })
    expect(iceServer('stun:host:3478')).toEqual({ urls: 'stun:host:3478' })
  })
})

test('the nearest word is suggested, a far one is not', () => {
  expect(nearest('prot', ['port', 'host', 'data'])).toBe('port')
  expect(nearest('pub', ['publish', 'port'])).toBe('publish')
  expect(nearest('zebra', ['port', 'host'])).toBeUndefined()
})
