/** Real Chromium for the journeys: each person has a browser of their own, with its own profile on disk. */
import fs from 'node:fs'
import path from 'node:path'
import { chromium, type BrowserContext, type Page } from 'playwright'
import { onTestFinished } from 'vitest'
import { findBrowser } from './browser.ts'
import { keepFailed } from './world.ts'

const ACTION_TIMEOUT_MS = 20_000

export const chromiumPath = (): string => {
  const found = findBrowser()
  if (found === undefined)
    throw new Error('There is no Chromium: run npm test, or set CHROMIUM to the path of one.')
  return found
}

/** What headless Chromium needs as root and in a container. */
export const CHROMIUM_FLAGS: readonly string[] = [
  ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

export type Person = Readonly<{ name: string; context: BrowserContext; page: Page }>

/** Opens a browser for `name`; it ends with the test, and on failure leaves a picture and its console. */
export async function openBrowser(
  name: string,
  dir: string,
  moreFlags: readonly string[] = [],
): Promise<Person> {
  const context = await chromium.launchPersistentContext(path.join(dir, `profile-${name}`), {
    executablePath: chromiumPath(),
    headless: true,
    args: [...CHROMIUM_FLAGS, ...moreFlags],
    viewport: { width: 1440, height: 1000 },
    acceptDownloads: true,
  })
  context.setDefaultTimeout(ACTION_TIMEOUT_MS)
  const log = path.join(dir, 'logs', `${name}-console.log`)
  fs.mkdirSync(path.dirname(log), { recursive: true })
  const note = (text: string): void => fs.appendFileSync(log, `${new Date().toISOString()} ${text}\n`)
  const watch = (page: Page): void => {
    page.on('console', (message) => note(`${message.type()} ${message.text()}`))
    page.on('pageerror', (error) => note(`uncaught ${error.stack ?? error.message}`))
  }
  context.on('page', watch)
  const page = context.pages()[0] ?? (await context.newPage())
  watch(page)
  onTestFinished(async ({ task }) => {
    if (task.result?.state === 'fail') {
      const picture = keepFailed(dir, `${name}.png`)
      await page.screenshot({ path: picture, fullPage: true }).catch(() => undefined)
      console.error(`${name} shows: ${picture}`)
    }
    await context.close().catch(() => undefined)
  })
  return { name, context, page }
}
