import { describe, expect, test } from 'vitest'
import { parseFlags, type Command } from '../cli/command.ts'
import { parseConfig } from './config.ts'
import { deviceToml } from './template.ts'
import { parseRate, tradeFlags, withTradeFlags } from './trade.ts'

const key = 'ab'.repeat(32)
const toml = deviceToml({
  name: 'x',
  hardware: 'pi4',
  dataDir: 'data',
  vendor: key,
  relays: ['http://localhost:8787'],
  trackers: [],
  deviceSecret: '01'.repeat(32),
  walletClientSecret: '02'.repeat(32),
  walletConnection: '',
  products: [],
  healthCommand: '',
  priceCapMsat: undefined,
})
const command: Command = { verb: 'device run', summary: '', flags: tradeFlags, run: () => Promise.resolve(0) }
const given = (...args: string[]) =>
  withTradeFlags(parseConfig(toml, 'device.toml').trade, parseFlags(command, args).flags)
const changed = (from: string, to: string) => {
  expect(toml).toContain(from)
  return parseConfig(toml.replace(from, to), 'device.toml').trade
}

describe('how a device trades', () => {
  test('a new file says the defaults: it sells nothing and asks a mirror only in need', () => {
    expect(given()).toEqual({
      prefer: 'balanced',
      budgetBytes: Number.POSITIVE_INFINITY,
      paymentSlots: 64,
      mirror: 'fallback',
      mirrorUrl: undefined,
      uploadBps: undefined,
      downloadBps: undefined,
      resell: undefined,
    })
  })

  test('rates are read with and without a unit', () => {
    const rows: [string, number | undefined][] = [
      ['500K', 500_000],
      ['2M', 2_000_000],
      ['1.5m', 1_500_000],
      ['750', 750],
      ['2 MB/s', 2_000_000],
      ['0', 0],
      ['fast', undefined],
      ['-1', undefined],
      ['', undefined],
      ['2T', undefined],
    ]
    for (const [text, bps] of rows) expect(parseRate(text)).toBe(bps)
  })

  test('the command line stands above the file', () => {
    const trade = given(
      ...['--prefer', 'fastest', '--budget-bytes', '1000', '--payment-slots', '483', '--mirror', 'never'],
      ...['--upload-limit', '500K', '--download-limit=2M', '--resell', '900'],
    )
    expect(trade).toMatchObject({
      prefer: 'fastest',
      budgetBytes: 1000,
      paymentSlots: 483,
      mirror: 'never',
      uploadBps: 500_000,
      downloadBps: 2_000_000,
      resell: 900,
    })
  })

  test('the file alone is enough', () => {
    expect(changed('prefer = "balanced"', 'prefer = "cheapest"').prefer).toBe('cheapest')
    expect(changed('upload_limit = 0', 'upload_limit = "2M"').uploadBps).toBe(2_000_000)
    expect(changed('download_limit = 0', 'download_limit = 1000').downloadBps).toBe(1000)
    expect(changed('# resell_msat', 'resell_msat').resell).toBe(1000)
    expect(changed('mirror = "fallback"', 'mirror = "always"').mirror).toBe('always')
  })

  test('what makes no sense is refused with what would', () => {
    expect(() => given('--prefer', 'best')).toThrow('cheapest or balanced or fastest')
    expect(() => given('--payment-slots', '484')).toThrow('from 1 to 483')
    expect(() => given('--upload-limit', 'fast')).toThrow('500K')
    expect(() => given('--mirror-url', 'ftp://x')).toThrow('address')
    expect(() => given('--resell', '0')).toThrow('above 0')
    expect(() => changed('payment_slots = 64', 'payment_slots = 500')).toThrow('at most 483')
    expect(() => changed('upload_limit = 0', 'upload_limit = "x"')).toThrow('"500K" or "2M"')
    expect(() => changed('mirror = "fallback"', 'mirror = "maybe"')).toThrow('"never"')
  })
})
