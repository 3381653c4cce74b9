import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, get, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { liveCell } from '../../web/core/live.ts'
import type { KioskView } from '../../web/core/rollout/kiosk.ts'
import { kioskAddress } from '../config/kiosk-address.ts'
import { createLog } from '../log.ts'
import { openKiosk } from './run.ts'
import { startKiosk } from './server.ts'

const VIEW: KioskView = {
  v: 1,
  name: 'pi-1',
  hardware: 'pi-4',
  code: '80N5-1HZJ',
  page: 'http://relay.example/vendor/device/ab',
  accepted: false,
  state: 'queued',
  installed: {},
  relays: { connected: 1, all: 1 },
}
const log = createLog('silent')
const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})

async function kiosk() {
  const dir = await mkdtemp(join(tmpdir(), 'satpatch-kiosk-'))
  ends.push(() => rm(dir, { recursive: true }))
  const webDir = join(dir, 'web')
  await mkdir(join(webDir, 'assets'), { recursive: true })
  for (const [name, text] of Object.entries({
    'kiosk.html': '<p>screen</p>',
    'index.html': '<p>vendor</p>',
    'assets/a-1.js': 'a()',
    '../secret.txt': 'secret',
  }))
    await writeFile(join(webDir, name), text)
  const changed = liveCell(0)
  let state: KioskView['state'] = 'queued'
  let fault: Error | undefined
  const device = {
    subscribe: changed.subscribe,
    showing: () => (fault ? Promise.reject(fault) : Promise.resolve({ ...VIEW, state })),
  }
  const running = await startKiosk({ address: { host: '127.0.0.1', port: 0 }, device, webDir, log })
  ends.push(() => running.stop())
  const become = (next: KioskView['state']): void => {
    state = next
    changed.set(changed.get() + 1)
  }
  return { url: running.url, become, fail: (error?: Error) => (fault = error) }
}

type Answer = Readonly<{ status: number; headers: IncomingHttpHeaders; text: string }>

/** With any headers, which `fetch` would not send; of a stream only the head. */
const ask = (url: string, headers: Record<string, string> = {}): Promise<Answer> =>
  new Promise((resolve, reject) => {
    get(url, { headers }, (response) => {
      const status = response.statusCode ?? 0
      const done = (text: string): void => resolve({ status, headers: response.headers, text })
      if (response.headers['content-type'] === 'text/event-stream') {
        response.destroy()
        return done('')
      }
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      response.once('end', () => done(text))
    }).once('error', reject)
  })

test('a view that cannot be made ends its stream and takes no place: the screen goes on afterwards', async () => {
  const { url, fail } = await kiosk()
  fail(new Error('the wallet is gone'))
  for (let i = 0; i < 10; i++) {
    const broken = fetch(`${url}/events`).then((response) => response.text())
    await expect(broken).rejects.toThrow()
  }
  fail()
  expect((await ask(`${url}/events`)).status).toBe(200)
})

test('serves its one page and what that is made of, and nothing else', async () => {
  const { url } = await kiosk()
  const page = await ask(url)
  expect(page).toMatchObject({ status: 200, text: '<p>screen</p>' })
  expect(page.headers['content-security-policy']).toContain("connect-src 'self';")
  expect(page.headers['content-security-policy']).not.toMatch(/unsafe|http|\*/)
  expect((await ask(`${url}/assets/a-1.js`)).text).toBe('a()')
  for (const path of [
    '/index.html',
    '/vendor',
    '/assets/../index.html',
    '/assets/..%2f..%2fsecret.txt',
    '/sw.js',
  ])
    expect((await ask(url + path)).status, path).toBe(404)
})

test('answers to no name but this machine’s own, and to no other site', async () => {
  const { url } = await kiosk()
  const { port } = new URL(url)
  for (const path of ['/', '/events', '/assets/a-1.js']) {
    for (const host of [
      'evil.example',
      `evil.example:${port}`,
      '127.0.0.1.evil.example',
      '192.168.1.5',
      'device.local',
    ])
      expect((await ask(url + path, { host })).status, `${host}${path}`).toBe(403)
  }
  for (const host of [`127.0.0.1:${port}`, `localhost:${port}`])
    expect((await ask(`${url}/events`, { host })).status).toBe(200)
  expect((await ask(`${url}/events`, { origin: 'http://evil.example' })).status).toBe(403)
  expect((await ask(`${url}/events`, { origin: 'null' })).status).toBe(403)
  expect((await ask(`${url}/events`, { 'sec-fetch-site': 'cross-site' })).status).toBe(403)
  expect((await ask(`${url}/events`, { origin: url })).status).toBe(200)
})

test('tells each change, the newest only', async () => {
  const { url, become } = await kiosk()
  const response = await fetch(`${url}/events`)
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  const next = async (): Promise<string> => {
    const { value } = await reader.read()
    const text = new TextDecoder().decode(value)
    return (JSON.parse(text.replace(/^data: /, '')) as KioskView).state
  }
  expect(await next()).toBe('queued')
  for (const state of ['buying', 'verified', 'installing', 'healthy'] as const) become(state)
  expect(await next()).toBe('healthy')
  await reader.cancel()
})

test('shows itself to eight screens at a time', async () => {
  const { url } = await kiosk()
  const streams = await Promise.all(Array.from({ length: 8 }, () => fetch(`${url}/events`)))
  expect(streams.map(({ status }) => status)).toEqual(Array(8).fill(200))
  expect((await ask(`${url}/events`)).status).toBe(503)
  for (const { body } of streams) await body?.cancel()
})

test('a page that cannot be served does not keep the device from running', async () => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  ends.push(() => new Promise((resolve) => taken.close(resolve)))
  const { port } = taken.address() as AddressInfo
  const device = { subscribe: liveCell(0).subscribe, showing: () => Promise.resolve(VIEW) }
  expect(await openKiosk({ kiosk: { host: '127.0.0.1', port } }, device, log)).toBeUndefined()
  expect(await openKiosk({ kiosk: undefined }, device, log)).toBeUndefined()
})

test('takes only addresses that no other machine reaches', () => {
  expect(kioskAddress('127.0.0.1:8788')).toEqual({ host: '127.0.0.1', port: 8788 })
  expect(kioskAddress('localhost:0')).toEqual({ host: '127.0.0.1', port: 0 })
  expect(kioskAddress('[::1]:80')).toEqual({ host: '::1', port: 80 })
  for (const text of [
    '0.0.0.0:8788',
    '192.168.1.5:8788',
    ':8788',
    '8788',
    '127.0.0.1',
    '127.0.0.1:70000',
    '[::]:1',
  ])
    expect(kioskAddress(text), text).toBeUndefined()
})
