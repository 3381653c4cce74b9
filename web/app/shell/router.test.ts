import { expect, test } from 'vitest'
import { href, parseRoute } from './router.svelte.ts'

test('every page has its path', () => {
  expect(parseRoute('/')).toEqual({ page: 'home' })
  expect(parseRoute('/vendor/')).toEqual({ page: 'vendor' })
  expect(parseRoute('/seed')).toEqual({ page: 'seed' })
  expect(parseRoute(href.shop)).toEqual({ page: 'shop' })
  expect(parseRoute(href.wallet)).toEqual({ page: 'wallet' })
  expect(parseRoute(href.devices)).toEqual({ page: 'devices' })
  for (const path of [href.keys, '/vendor/keys']) expect(parseRoute(path)).toEqual({ page: 'keys' })
  expect(parseRoute('/vendor/device/' + 'a'.repeat(64))).toEqual({ page: 'device', key: 'a'.repeat(64) })
  expect(parseRoute('/vendor/device/zz')).toEqual({ page: 'missing' })
  expect(parseRoute('/elsewhere')).toEqual({ page: 'missing' })
})

test('release paths keep spaces, Unicode, percent and hash signs', () => {
  for (const path of ['gateway-os/2.4.1/file.swu', 'p/1/日本 語#?%.bin', 'p/1/a+b&c.img']) {
    const url = new URL(href.release(path), 'http://localhost')
    expect(parseRoute(url.pathname)).toEqual({ page: 'release', path })
  }
  expect(parseRoute('/vendor/release/%E0%A4%A')).toEqual({ page: 'missing' })
})
