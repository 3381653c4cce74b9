/** Every case against the command in this process: real HTTP, real files. */
import { expect, test } from 'vitest'
import { asProcess, Client, inProcess } from './client.ts'
import { conformance } from './conformance-suite.ts'
import { Repository } from './repository.ts'

conformance(inProcess)

test('the command itself: silent, 0 or 1, with a moved clock', { timeout: 120_000 }, async () => {
  const now = Date.now()
  const repository = new Repository(now)
  const client = await Client.start(asProcess, repository)
  try {
    expect(await client.refresh()).toBe(0)
    client.nowMs = now + 31 * 86_400_000
    expect(await client.refresh()).toBe(1)
    expect((await asProcess(['nonsense'], now)).code).toBe(1)
    expect((await asProcess([], now)).code).toBe(1)
  } finally {
    await client.stop()
  }
})
