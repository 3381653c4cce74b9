import { expect, test } from 'vitest'
import { words } from '../errors.ts'
import { fetchHandover } from './handover.ts'

const answering = (status: number, body: unknown): typeof fetch =>
  (() => Promise.resolve(new Response(JSON.stringify(body), { status }))) as typeof fetch

test('the backup is given as it came', async () => {
  expect(await fetchHandover('code', answering(200, { backup: 'text' }))).toBe('text')
})

test('a spent code is told in the relay’s words, with what to do', async () => {
  const body = { error: { code: 'bad-handover', message: 'This address has been used already' } }
  const error = await fetchHandover('code', answering(404, body)).catch((e: unknown) => e)
  expect(words(error)).toEqual({
    what: 'This address has been used already.',
    todo: 'Start the demo again for a new address. Keys in this browser stay as they are.',
  })
})

test('anything else that answers is no handover', async () => {
  for (const [status, body] of [
    [200, {}],
    [200, { backup: 7 }],
    [404, 'no'],
    [404, { error: { code: 'not-found', message: 'There is nothing at this address.' } }],
  ] as const) {
    await expect(fetchHandover('code', answering(status, body))).rejects.toMatchObject({
      code: 'bad-handover',
    })
  }
})
