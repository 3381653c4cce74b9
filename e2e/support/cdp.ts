/**
 * Chromium over its own protocol, without Playwright: that one switches off what browsers do to hidden tabs,
 * and hidden tabs are what volunteers have.
 */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import * as v from 'valibot'
import { onTestFinished } from 'vitest'
import WebSocket from 'ws'
import { until } from './processes.ts'
import { CHROMIUM_FLAGS, chromiumPath } from './tabs.ts'
import { keepFailed } from './world.ts'

const START_TIMEOUT_MS = 20_000
const CALL_TIMEOUT_MS = 20_000

export interface RawTab {
  /** The value of an expression in the page; promises are awaited. */
  evaluate(expression: string): Promise<unknown>
  /** Until the expression is true. */
  when(what: string, expression: string, timeoutMs: number): Promise<void>
  picture(file: string): Promise<void>
}

export interface RawBrowser {
  open(url: string): Promise<RawTab>
}

const messageSchema = v.object({
  id: v.optional(v.number()),
  result: v.optional(v.unknown()),
  error: v.optional(v.object({ message: v.string() })),
})

/** Starts a browser with nothing but what root and a container need; it ends with the test. */
export async function openRawBrowser(name: string, dir: string): Promise<RawBrowser> {
  const profile = path.join(dir, `profile-${name}`)
  fs.mkdirSync(profile, { recursive: true })
  const flags = [
    ...CHROMIUM_FLAGS,
    '--headless',
    '--remote-debugging-port=0',
    `--user-data-dir=${profile}`,
    'about:blank',
  ]
  const child = spawn(chromiumPath(), flags, { stdio: ['ignore', 'ignore', 'pipe'], detached: true })
  const killed = new Promise((resolve) => child.once('close', resolve))
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (said = (said + chunk).slice(-20_000)))
  const url = await until(
    `${name}'s browser to start`,
    START_TIMEOUT_MS,
    () => /DevTools listening on (ws:\S+)/.exec(said)?.[1],
    () => said,
  )
  const { call, close } = await connect(url)
  const tabs: RawTab[] = []
  onTestFinished(async ({ task }) => {
    if (task.result?.state === 'fail')
      for (const [i, tab] of tabs.entries()) {
        const picture = keepFailed(dir, `${name}-${i + 1}.png`)
        await tab.picture(picture).catch(() => undefined)
        console.error(`${name} shows: ${picture}`)
      }
    close()
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    await killed
  })

  return {
    async open(address) {
      const { targetId } = v.parse(
        v.object({ targetId: v.string() }),
        await call('Target.createTarget', { url: address }),
      )
      const { sessionId } = v.parse(
        v.object({ sessionId: v.string() }),
        await call('Target.attachToTarget', { targetId, flatten: true }),
      )
      const tab: RawTab = {
        async evaluate(expression) {
          const params = { expression, awaitPromise: true, returnByValue: true }
          const answer = v.parse(
            v.object({
              result: v.object({ value: v.optional(v.unknown()) }),
              exceptionDetails: v.optional(v.object({ text: v.string() })),
            }),
            await call('Runtime.evaluate', params, sessionId),
          )
          if (answer.exceptionDetails) throw new Error(answer.exceptionDetails.text)
          return answer.result.value
        },
        async when(what, expression, timeoutMs) {
          await until(
            `${name}: ${what}`,
            timeoutMs,
            async () => ((await tab.evaluate(expression).catch(() => false)) === true ? true : undefined),
            () => said.slice(-1000),
          )
        },
        async picture(file) {
          const { data } = v.parse(
            v.object({ data: v.string() }),
            await call('Page.captureScreenshot', { captureBeyondViewport: true }, sessionId),
          )
          fs.writeFileSync(file, Buffer.from(data, 'base64'))
        },
      }
      tabs.push(tab)
      return tab
    },
  }
}

async function connect(url: string) {
  const socket = new WebSocket(url)
  await new Promise<void>((resolve, reject) => {
    socket.once('open', () => resolve())
    socket.once('error', reject)
  })
  const waiting = new Map<number, (message: v.InferOutput<typeof messageSchema>) => void>()
  let last = 0
  socket.on('message', (data: Buffer) => {
    const message = v.parse(messageSchema, JSON.parse(data.toString('utf8')))
    if (message.id !== undefined) waiting.get(message.id)?.(message)
  })
  const call = (method: string, params: object, sessionId?: string): Promise<unknown> => {
    const id = ++last
    return new Promise((resolve, reject) => {
      const end = (act: () => void): void => {
        clearTimeout(timer)
        waiting.delete(id)
        act()
      }
      const timer = setTimeout(
        () => end(() => reject(new Error(`${method}: no answer in ${CALL_TIMEOUT_MS / 1000} s`))),
        CALL_TIMEOUT_MS,
      )
      waiting.set(id, ({ result, error }) =>
        end(() => (error ? reject(new Error(`${method}: ${error.message}`)) : resolve(result))),
      )
      socket.send(JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) }))
    })
  }
  return { call, close: () => socket.close() }
}
