/** Builds the PWA (`web/` to `dist/web`) and configures the unit tests of every room. */
import { availableParallelism } from 'node:os'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import type { Plugin } from 'vite'
import { VitePWA } from 'vite-plugin-pwa'
import { configDefaults, defineConfig } from 'vitest/config'

const testing = process.env['VITEST'] !== undefined
const here = import.meta.dirname

/** Half a megabyte that few ask for: named, so that it is left out of what every visitor keeps. */
const MORE_WALLETS = 'more-wallets'
const chunkName = (moduleIds: readonly string[]): string =>
  moduleIds.some((id) => /@getalby\/bitcoin-connect|@lightninglabs/.test(id))
    ? `assets/${MORE_WALLETS}-[hash].js`
    : 'assets/[name]-[hash].js'

export default defineConfig({
  root: testing ? here : `${here}/web`,
  publicDir: testing ? false : `${here}/web/public`,
  plugins: [svelte({ configFile: false }), ...(testing ? [] : [pwa(), kioskAlone()])],
  build: {
    outDir: `${here}/dist/web`,
    emptyOutDir: true,
    target: 'es2023',
    // The page's CSP allows scripts from its own origin only: nothing may be inlined as a script.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 700,
    rolldownOptions: {
      // The page of a device's own screen is one of its own: `satpatch device run --kiosk` serves nothing else.
      input: ['index', 'kiosk'].map((page) => `${here}/web/${page}.html`),
      output: { chunkFileNames: ({ moduleIds }) => chunkName(moduleIds) },
    },
  },
  worker: { format: 'es' },
  server: {
    // `vite` in development: pages from here, everything else from a relay on its default port.
    proxy: Object.fromEntries(
      ['/api', '/v', '/healthz', '/nostr', '/tracker'].map((path) => [
        path,
        { target: 'http://localhost:8787', ws: true },
      ]),
    ),
  },
  test: {
    environment: 'node',
    include: ['web', 'relay', 'device', 'e2e'].map((room) => `${room}/**/*.test.ts`),
    // The slow ones run with `npm run test:full`.
    exclude: [...configDefaults.exclude, ...(process.env['SATPATCH_FULL'] ? [] : ['**/*.full.test.ts'])],
    setupFiles: ['e2e/support/fixed-seed.ts'],
    testTimeout: 20_000,
    // Two at once on two cores: half of the tests wait for wires, disks and other processes.
    maxWorkers: Math.max(2, availableParallelism() - 1),
  },
})

/** The page of a device's own screen is no app to install. */
function kioskAlone(): Plugin {
  return {
    name: 'kiosk-alone',
    enforce: 'post',
    transformIndexHtml: {
      order: 'post',
      handler: (html, { path }) =>
        path.endsWith('/kiosk.html') ? html.replace(/<link rel="manifest"[^>]*>/, '') : html,
    },
  }
}

function pwa() {
  return VitePWA({
    // A new version waits until the person lets it in: it never loads into an open signing session unasked.
    registerType: 'prompt',
    injectRegister: false,
    manifest: {
      id: '/',
      name: 'Satpatch',
      short_name: 'Satpatch',
      description: 'Signed updates for device fleets, carried by a swarm that is paid in sats.',
      start_url: '/',
      scope: '/',
      display: 'standalone',
      background_color: '#fbfcf9',
      theme_color: '#eff1ec',
      icons: [
        { src: '/icon-192.png', sizes: '192x192', type: 'image/png' },
        { src: '/icon-512.png', sizes: '512x512', type: 'image/png' },
        { src: '/icon-maskable-512.png', sizes: '512x512', type: 'image/png', purpose: 'maskable' },
        { src: '/icon.svg', sizes: 'any', type: 'image/svg+xml' },
      ],
      shortcuts: [
        { name: 'Releases', url: '/vendor' },
        { name: 'Seed', url: '/seed' },
      ],
    },
    workbox: {
      globPatterns: ['**/*.{js,css,html,svg,png,woff2,wasm}'],
      globIgnores: [`**/${MORE_WALLETS}-*.js`, '**/kiosk*'],
      maximumFileSizeToCacheInBytes: 4 * 1024 * 1024,
      navigateFallback: '/index.html',
      // What the relay answers is never the shell's business, and never stale.
      navigateFallbackDenylist: [/^\/(api|v|healthz|nostr|tracker)(\/|$)/],
      cleanupOutdatedCaches: true,
      clientsClaim: false,
      skipWaiting: false,
    },
  })
}
