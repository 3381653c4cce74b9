/**
 * Benches with tabs: each tab is a Chromium of its own, the other end a second one or a Node process. The page
 * (`tabs.html`) is built by vite into a temporary directory; it is no part of the product's bundle.
 */
import { mkdir, readFile, rm } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { chromium, type BrowserContext, type CDPSession, type Page } from 'playwright'
import { build } from 'vite'
import { chromiumPath, CHROMIUM_FLAGS } from '../support/tabs.ts'
import type { Ends } from './tabs-end.ts'

const TYPES: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript' }

export type Site = Readonly<{ url: string; close(): Promise<void> }>

/** Builds the bench's page and serves it from `localhost`, which browsers take for a secure place. */
export async function openSite(dir: string): Promise<Site> {
  const outDir = path.join(dir, 'page')
  await build({
    configFile: false,
    logLevel: 'error',
    root: import.meta.dirname,
    build: {
      outDir,
      target: 'es2023',
      modulePreload: { polyfill: false },
      rollupOptions: { input: path.join(import.meta.dirname, 'tabs.html') },
      chunkSizeWarningLimit: 2000,
      minify: process.env['BENCH_PROFILE'] === undefined,
    },
    worker: { format: 'es' },
  })
  const server = http.createServer((request, response) => {
    const name = path.normalize(new URL(request.url ?? '/', 'http://localhost').pathname)
    readFile(path.join(outDir, name)).then(
      (body) => response.setHeader('content-type', TYPES[path.extname(name)] ?? 'text/plain').end(body),
      () => response.writeHead(404).end(),
    )
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    url: `http://localhost:${(server.address() as AddressInfo).port}/tabs.html`,
    close: () =>
      new Promise((done) => {
        server.closeAllConnections()
        server.close(() => done())
      }),
  }
}

export type Tab = Readonly<{
  page: Page
  cdp: CDPSession
  /** Calls a function of `Ends` in the page. */
  call<K extends keyof Ends>(name: K, ...args: Parameters<Ends[K]>): Promise<Awaited<ReturnType<Ends[K]>>>
  close(): Promise<void>
}>

let tabs = 0

/** A browser of its own with the bench's page in its only tab. */
export async function openTab(site: Site, dir: string, file?: string): Promise<Tab> {
  const profile = path.join(dir, `profile-${++tabs}`)
  await mkdir(profile, { recursive: true })
  const context: BrowserContext = await chromium.launchPersistentContext(profile, {
    executablePath: chromiumPath(),
    headless: true,
    // Addresses that the shaper can read, in place of mDNS names.
    args: [...CHROMIUM_FLAGS, '--disable-features=WebRtcHideLocalIpsWithMdns'],
  })
  const page = context.pages()[0] ?? (await context.newPage())
  if (process.env['BENCH_LOG'] !== undefined) {
    page.on('console', (message) => console.error(`tab ${profile.at(-1)}: ${message.text()}`))
    page.on('pageerror', (error) => console.error(`tab ${profile.at(-1)}: ${error.stack}`))
  }
  await page.goto(site.url)
  if (file !== undefined) await page.setInputFiles('#file', file)
  await page.waitForFunction('globalThis.bench !== undefined')
  return {
    page,
    cdp: await context.newCDPSession(page),
    call: (name, ...args) =>
      page.evaluate(
        ([name, args]) =>
          (globalThis as unknown as { bench: Record<string, (...args: unknown[]) => unknown> }).bench[name]?.(
            ...args,
          ),
        [name, args] as const,
      ) as ReturnType<Tab['call']> as never,
    async close() {
      await context.close()
      await rm(profile, { recursive: true, force: true })
    },
  }
}
