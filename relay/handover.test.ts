/** The handover gives the backup once, to whoever knows the code. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { sha256Hex, utf8 } from '../web/core/bytes.ts'
import { handoverRoutes, type HandoverFile } from './handover.ts'
import { createRouter } from './http/http.ts'

function setUp(content: HandoverFile | undefined) {
  const dir = mkdtempSync(join(tmpdir(), 'satpatch-handover-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const file = join(dir, 'handover.json')
  if (content) writeFileSync(file, JSON.stringify(content))
  const routes = handoverRoutes({ file, publicUrl: undefined, nowMs: () => 0 })
  const serve = createRouter(
    routes,
    () => new Response('page'),
    () => undefined,
  )
  const ask = (code: unknown, headers: Record<string, string> = {}) =>
    serve(
      new Request('http://localhost/api/handover', {
        method: 'POST',
        headers: { host: 'localhost', 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ code }),
      }),
      '127.0.0.1',
    )
  return { file, ask }
}
const waiting = { codeHash: sha256Hex(utf8('right')), backup: 'sealed' }

test('the right code gets the backup, once', async () => {
  const { file, ask } = setUp(waiting)
  const first = await ask('right')
  expect(first.status).toBe(200)
  expect(await first.json()).toEqual({ backup: 'sealed' })
  expect(existsSync(file)).toBe(false)
  expect((await ask('right')).status).toBe(404)
})

test('two at the same moment: one gets it', async () => {
  const { ask } = setUp(waiting)
  const statuses = (await Promise.all([ask('right'), ask('right'), ask('right')])).map(({ status }) => status)
  expect(statuses.toSorted()).toEqual([200, 404, 404])
})

test('a wrong code spends nothing', async () => {
  const { ask } = setUp(waiting)
  const wrong = await ask('wrong')
  expect(wrong.status).toBe(404)
  expect(await wrong.json()).toMatchObject({ error: { code: 'bad-handover' } })
  expect((await ask('right')).status).toBe(200)
})

test('no file, a malformed request and a foreign page get nothing', async () => {
  expect((await setUp(undefined).ask('right')).status).toBe(404)
  const { ask } = setUp(waiting)
  expect((await ask(7)).status).toBe(400)
  expect((await ask('right', { origin: 'http://elsewhere.example' })).status).toBe(403)
  expect((await ask('right')).status).toBe(200)
})

test('guessing is limited', async () => {
  const { ask } = setUp(waiting)
  for (let i = 0; i < 20; i++) expect((await ask(`guess ${i}`)).status).toBe(404)
  expect((await ask('right')).status).toBe(429)
})
