/**
 * Metadata made to hurt its reader, through every role: by who holds the relay's keys, and so may list what nobody
 * signed. The real device names each, and nothing changes.
 */
import { expect, test } from 'vitest'
import { utf8, type Bytes, type PartyKey } from '../../web/core/bytes.ts'
import { buildSnapshot, buildTargets, buildTimestamp } from '../../web/core/release/repository.ts'
import { signWith, testKey } from '../../web/core/release/test-repository.ts'
import { LIMITS } from '../../web/core/release/tuf.ts'
import { stageOfFile } from './stage.ts'

const stage = stageOfFile()
/** Each bomb goes by lists of its own, newer than the last: no hash in them says what it should be. */
let lists = 1000

async function through(
  role: 'snapshot' | 'targets' | 'product-valve',
  bomb: Bytes,
): Promise<Record<string, Bytes>> {
  const { keys } = stage()
  const { versions } = await stage().state()
  const nowMs = Date.now()
  const list = ++lists
  const nothing = new Uint8Array()
  const targetsVersion = role === 'targets' ? versions.targets + list : versions.targets
  const timestamp = buildTimestamp({ version: list, nowMs, snapshotVersion: list, snapshot: nothing })
  const snapshot = buildSnapshot({ version: list, nowMs, targetsVersion, targets: nothing })
  // No role that was listed once may be missing later.
  const meta = {
    'targets.json': { version: targetsVersion },
    'product-valve.json': { version: list },
  }
  return {
    '/timestamp.json': signWith(
      { ...timestamp, meta: { 'snapshot.json': { version: list } } },
      keys.timestamp,
    ),
    [`/${list}.snapshot.json`]: role === 'snapshot' ? bomb : signWith({ ...snapshot, meta }, keys.snapshot),
    ...(role === 'targets' ? { [`/${targetsVersion}.targets.json`]: bomb } : {}),
    ...(role === 'product-valve' ? { [`/${list}.product-valve.json`]: bomb } : {}),
  }
}

const deep = utf8(`{"signed":${'['.repeat(200_000)}${']'.repeat(200_000)},"signatures":[]}`)
const huge = (type: string) => utf8(`{"signed":{"_type":"${type}","version":1e400},"signatures":[]}`)
/** As many entries as the limit lets through, and one file more than that. */
function many(type: 'snapshot' | 'targets', maxBytes: number): Bytes {
  const entry = type === 'snapshot' ? '{"version":1}' : '{"length":1,"hashes":{"sha256":"00"}}'
  const name = type === 'snapshot' ? 'meta' : 'targets'
  const head = `{"signatures":[],"signed":{"_type":"${type}","spec_version":"1.0.31","version":1,"expires":"2036-01-01T00:00:00Z","${name}":{`
  const one = (i: number): string => `"${i}.json":${entry}`
  const parts: string[] = []
  let bytes = head.length + 3
  for (let i = 0; bytes + one(i).length + 1 <= maxBytes; i++) {
    parts.push(one(i))
    bytes += one(i).length + 1
  }
  return utf8(`${head}${parts.join()}}}}`)
}
const endless = (maxBytes: number): Bytes => new Uint8Array(maxBytes + 1).fill(0x20)

test('metadata bombs of a delegate: deep, past all numbers, as many targets as fit, and too long', async () => {
  const delegate = testKey('valve delegate')
  const nostr = 'cd'.repeat(32) as PartyKey
  await stage().host.vendor.delegate({ product: 'valve', name: 'Valve team', key: delegate.public, nostr })
  await stage().names('malformed', await through('product-valve', deep))
  await stage().names('malformed', await through('product-valve', huge('targets')))
  const unsigned = many('targets', LIMITS.targetsBytes)
  await stage().names('arbitrary-software', await through('product-valve', unsigned))
  await stage().names('endless-data', await through('product-valve', endless(LIMITS.targetsBytes)))
  // Signed by the delegate itself: read, and what it may not speak about counts for nothing.
  const entries = Object.fromEntries(
    Array.from({ length: 30_000 }, (_, i) => [
      `firmware/9.9.${i}/x`,
      { length: 1, hashes: { sha256: '00' } },
    ]),
  )
  const signed = { ...buildTargets({ version: lists + 1, nowMs: Date.now(), targets: [] }), targets: entries }
  const since = stage().logLength()
  const before = await stage().standing()
  stage().front.serve(await through('product-valve', signWith(signed, delegate)))
  stage().look()
  await stage().says(/says what is not its to say/, since)
  stage().front.clear()
  expect(await stage().standing()).toEqual(before)
})

test('metadata bombs through the snapshot: deep, past all numbers, as many roles as fit, and too long', async () => {
  await stage().names('malformed', await through('snapshot', deep))
  await stage().names('malformed', await through('snapshot', huge('snapshot')))
  await stage().names('arbitrary-software', await through('snapshot', many('snapshot', LIMITS.snapshotBytes)))
  await stage().names('endless-data', await through('snapshot', endless(LIMITS.snapshotBytes)))
})

test('metadata bombs through the targets: deep, past all numbers, a hundred thousand targets, and too long', async () => {
  await stage().names('malformed', await through('targets', deep))
  await stage().names('malformed', await through('targets', huge('targets')))
  const targets = many('targets', LIMITS.targetsBytes)
  expect(targets.length).toBeGreaterThan(LIMITS.targetsBytes - 200)
  await stage().names('arbitrary-software', await through('targets', targets))
  await stage().names('endless-data', await through('targets', endless(LIMITS.targetsBytes)))
})
