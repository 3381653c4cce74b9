import { expect, test } from 'vitest'
import { fetchRelayConfig } from '../web/edge/relay-config.ts'
import { directory, relay } from './fixture.ts'

test('a started relay is healthy and tells its configuration', async () => {
  const iceServers = [{ urls: 'stun:stun.example:3478' }]
  const { url, relayKey } = await relay({ iceServers })
  const health = await fetch(`${url}/healthz`)
  expect(health.status).toBe(200)
  expect(await health.json()).toMatchObject({ ok: true, parts: { nostr: 'ok', mirror: 'ok', ledger: 'ok' } })
  const config = await fetchRelayConfig(url)
  expect(config).toMatchObject({ relayKey, money: `sandbox:${relayKey}`, iceServers, vendors: [] })
  expect(config.nostrUrl).toBe(`${url.replace('http', 'ws')}/nostr`)
})

test('keys outlive a restart', async () => {
  const dataDir = await directory()
  const first = await relay({ dataDir })
  const before = await fetchRelayConfig(first.url)
  await first.stop()
  const second = await relay({ dataDir })
  expect((await fetchRelayConfig(second.url)).tuf).toEqual(before.tuf)
})

test('says which setting to change when it cannot start', async () => {
  const dataDir = await directory()
  const running = await relay({ dataDir })
  await expect(relay({ dataDir })).rejects.toMatchObject({ name: 'StartError', code: 'data-in-use' })
  await expect(relay({ port: running.port })).rejects.toMatchObject({ code: 'port-in-use' })
  await expect(relay({ dataDir: '/proc/nowhere' })).rejects.toMatchObject({ code: 'data-unwritable' })
  await expect(relay({ publicUrl: 'relay.example' })).rejects.toMatchObject({ code: 'bad-setting' })
  const tls = { certFile: '/nowhere.crt', keyFile: '/nowhere.key' }
  await expect(relay({ tls })).rejects.toMatchObject({ code: 'tls-unreadable' })
})

test('a start that failed leaves nothing behind: the directory can be used at once', async () => {
  const dataDir = await directory()
  const other = await relay()
  await expect(relay({ dataDir, port: other.port })).rejects.toMatchObject({ code: 'port-in-use' })
  await expect(relay({ dataDir })).resolves.toBeDefined()
})

test('stops with clients connected, and twice is as good as once', async () => {
  const running = await relay()
  const socket = new WebSocket(`${running.url.replace('http', 'ws')}/nostr`)
  const closed = new Promise((resolve) => (socket.onclose = resolve))
  await new Promise((resolve) => (socket.onmessage = resolve))
  await Promise.all([running.stop(), running.stop(), closed])
  await expect(fetch(`${running.url}/healthz`)).rejects.toThrow()
})
