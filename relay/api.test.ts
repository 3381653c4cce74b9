/** Limits, origins and accounts of the HTTP API, and the pages beside it. */
import { mkdir, writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { connectNwc } from '../web/edge/wallet/nwc.ts'
import { afterTest, directory, relay } from './fixture.ts'

/** Sent as given, `Host` and `Origin` too, which `fetch` would not do. */
function send(
  url: string,
  options: { method?: string; path?: string; headers?: Record<string, string>; body?: string },
) {
  const { method = 'POST', path = '/api/accounts', headers = {}, body = '{}' } = options
  return new Promise<{
    status: number
    code: string | undefined
    headers: NodeJS.Dict<string | string[]>
    text: string
  }>((resolve, reject) => {
    const type = { 'content-type': 'application/json' }
    const sent = httpRequest(new URL(url), { method, path, headers: { ...type, ...headers } }, (response) => {
      let text = ''
      response.on('data', (part) => (text += String(part)))
      response.on('end', () => {
        let code: string | undefined
        try {
          code = (JSON.parse(text) as { error?: { code: string } }).error?.code
        } catch {
          code = undefined
        }
        resolve({ status: response.statusCode ?? 0, code, headers: response.headers, text })
      })
    })
    sent.on('error', reject)
    sent.end(method === 'GET' ? undefined : body)
  })
}
const open = (url: string, headers: Record<string, string> = {}, body = '{}') => send(url, { headers, body })

test('opens a play-money account whose wallet answers at the address that was asked', async () => {
  const running = await relay({ openAccounts: { grantMsat: 500_000, perAddress: 3 } })
  const { status, text } = await open(running.url, {}, '{"name":"seeder"}')
  expect(status).toBe(201)
  const account = JSON.parse(text) as { connection: string; money: string; balanceMsat: number }
  expect(account).toMatchObject({ money: `sandbox:${running.relayKey}`, balanceMsat: 500_000 })
  expect(new URL(account.connection).searchParams.get('relay')).toBe(
    `${running.url.replace('http', 'ws')}/nostr`,
  )
  const wallet = await connectNwc(account.connection)
  afterTest(() => wallet.close())
  expect(await wallet.balance()).toBe(500_000)
})

test('opens its limit of accounts per address and not one more', async () => {
  const { url } = await relay({ openAccounts: { grantMsat: 1000, perAddress: 2 } })
  expect((await open(url)).status).toBe(201)
  expect((await open(url)).status).toBe(201)
  expect(await open(url)).toMatchObject({ status: 429, code: 'accounts-limited' })
})

test.each([
  ['a page of another site', { origin: 'https://evil.example' }, 'foreign-origin'],
  ['a page that hides its site', { origin: 'null' }, 'foreign-origin'],
  ['a cross-site request', { 'sec-fetch-site': 'cross-site' }, 'foreign-origin'],
  ['a name pointed at this machine (DNS rebinding)', { host: 'evil.example' }, 'foreign-host'],
  ['a form of another site', { 'content-type': 'text/plain' }, 'not-json'],
])('an account is not opened for %s', async (_, headers, code) => {
  expect(await open((await relay()).url, headers)).toMatchObject({ code })
})

test('the relay’s own pages may open accounts', async () => {
  const { url } = await relay()
  expect((await open(url, { origin: url, 'sec-fetch-site': 'same-origin' })).status).toBe(201)
})

test('behind a proxy the public address is told, and the client’s own address counted', async () => {
  const running = await relay({
    publicUrl: 'https://relay.example/',
    openAccounts: { grantMsat: 1, perAddress: 1 },
  })
  const local = `http://127.0.0.1:${running.port}`
  const from = (address: string) =>
    open(local, { host: 'relay.example', origin: 'https://relay.example', 'x-forwarded-for': address })
  expect((await from('203.0.113.1')).status).toBe(201)
  expect((await from('203.0.113.1')).status).toBe(429)
  expect((await from('203.0.113.1, 203.0.113.2')).status).toBe(201)
  const config = await send(local, { method: 'GET', path: '/api/config', headers: { host: 'relay.example' } })
  expect(JSON.parse(config.text)).toMatchObject({
    nostrUrl: 'wss://relay.example/nostr',
    trackerUrl: 'wss://relay.example/tracker',
  })
})

test('a body over its limit is refused, a wrong method and an unknown address are named', async () => {
  const { url } = await relay()
  expect(await open(url, {}, JSON.stringify({ name: 'x'.repeat(5000) }))).toMatchObject({
    status: 413,
    code: 'too-large',
  })
  expect(await open(url, {}, '{')).toMatchObject({ status: 400, code: 'not-json' })
  expect(await send(url, { method: 'PUT' })).toMatchObject({ status: 405 })
  expect(await send(url, { method: 'GET', path: '/api/nothing' })).toMatchObject({
    status: 404,
    code: 'not-found',
  })
  expect(
    await send(url, { method: 'GET', path: `/v/${'0'.repeat(64)}/metadata/timestamp.json` }),
  ).toMatchObject({
    status: 404,
    code: 'vendor-unknown',
  })
})

test('tells a Nostr client what it is (NIP-11)', async () => {
  const { url } = await relay()
  const response = await fetch(`${url}/nostr`, { headers: { accept: 'application/nostr+json' } })
  expect(response.headers.get('access-control-allow-origin')).toBe('*')
  expect(await response.json()).toMatchObject({ supported_nips: expect.arrayContaining([1, 9, 11, 40, 42]) })
})

test('serves pages under a strict policy, hashed assets for good, the shell for page addresses', async () => {
  const webDir = join(await directory(), 'web')
  await mkdir(join(webDir, 'assets'), { recursive: true })
  await writeFile(
    join(webDir, 'index.html'),
    '<!doctype html><script>one()</script><script src="/assets/a.js"></script>',
  )
  await writeFile(join(webDir, 'assets/a-1234.js'), 'a()'.repeat(1000))
  await writeFile(join(webDir, 'sw.js'), 'b()')
  await writeFile(join(webDir, '../secret.txt'), 'secret')
  const { url } = await relay({ webDir })
  const get = (path: string, headers: Record<string, string> = {}) => fetch(`${url}${path}`, { headers })

  const page = await get('/')
  const policy = page.headers.get('content-security-policy') ?? ''
  expect(policy).toContain("default-src 'none'")
  expect(policy).toMatch(/script-src 'self' 'wasm-unsafe-eval' 'sha256-[^']+'(;|$)/)
  expect(policy).not.toMatch(/script-src[^;]*unsafe-inline/)
  expect([page.headers.get('cache-control'), page.headers.get('x-content-type-options')]).toEqual([
    'no-cache',
    'nosniff',
  ])
  const again = await get('/', { 'if-none-match': page.headers.get('etag') ?? '' })
  expect(again.status).toBe(304)

  expect((await get('/assets/a-1234.js')).headers.get('cache-control')).toContain('immutable')
  expect(await (await get('/assets/a-1234.js')).text()).toBe('a()'.repeat(1000))
  expect((await get('/sw.js')).headers.get('cache-control')).toBe('no-cache')
  expect(await (await get('/vendor/release/router@1.2.3')).text()).toContain('<!doctype html>')
  expect((await get('/assets/gone.js')).status).toBe(404)
  for (const path of ['/../secret.txt', '/..%2fsecret.txt', '/%2e%2e/secret.txt', '/assets/%00', '/%']) {
    const { text } = await send(url, { method: 'GET', path })
    expect(text).not.toContain('secret')
  }
})

test('says how to build the pages when they are missing', async () => {
  const { url } = await relay({ webDir: '/nowhere' })
  const response = await fetch(url)
  expect(response.status).toBe(503)
  expect(await response.text()).toContain('npm run build')
})
