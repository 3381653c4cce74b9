/** Keys from a terminal and from a build machine: the real commands against a real relay, and a device's refresh at the end of each. */
import { execFile, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import type { VendorId } from '../../web/core/bytes.ts'
import { failureText, refresh } from '../../web/edge/release/mirror.ts'
import { memoryStore } from '../../web/edge/release/store.ts'
import { openHouse } from '../support/house.ts'
import { root } from '../support/run.ts'
import { testDir } from '../support/world.ts'

const execFileAsync = promisify(execFile)
const hasOpenssl = spawnSync('openssl', ['version']).status === 0

type Ended = Readonly<{ code: number; out: string; err: string }>

async function setUp() {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: 1000, accounts: 10 })
  onTestFinished(() => house.stop())
  const { url } = house.relay
  const file = path.join(dir, 'pump.bin')
  fs.writeFileSync(file, randomBytes(50_000))
  const passphrase = path.join(dir, 'passphrase')
  fs.writeFileSync(passphrase, 'four random words here\n', { mode: 0o600 })
  const satpatch = (...args: string[]): Promise<Ended> =>
    new Promise((resolve) => {
      const command = [path.join(root, 'device/satpatch.mjs'), ...args]
      execFile(process.execPath, command, { timeout: 60_000, cwd: dir }, (error, out, err) => {
        resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, out, err })
      })
    })
  /** One person's commands: a key file of their own. */
  const person = (name: string, ...more: string[]) => {
    const own = ['--keys', path.join(dir, name, 'keys.json'), '--passphrase-file', passphrase, ...more]
    return {
      keysFile: path.join(dir, name, 'keys.json'),
      keys: (verb: string, ...args: string[]) => satpatch('keys', verb, ...args, ...own, '--relay', url),
      offline: (verb: string, ...args: string[]) => satpatch('keys', verb, ...args, ...own),
      publish: (version: string, ...args: string[]) =>
        satpatch(
          ...[
            'publish',
            file,
            '--product',
            'pump',
            '--release',
            version,
            '--hardware',
            'pi',
            '--seed-until',
            '0',
          ],
          ...[...args, ...own, '--relay', url],
        ),
    }
  }
  const store = memoryStore()
  const device = async (vendor: string) => {
    const seen = await refresh({
      mirrors: [url],
      vendor: vendor as VendorId,
      store,
      nowMs: Date.now(),
      fetch,
    })
    if (seen.tag !== 'ok') throw new Error(failureText(seen))
    return seen.verified
  }
  return { dir, house, person, device, passphrase }
}

const must = ({ code, out, err }: Ended, expected = 0): string => {
  expect(code, `${out}\n${err}`).toBe(expected)
  return out.trim()
}
const linkIn = (text: string): string => /\S+#sign=\S+/.exec(text)?.[0] ?? ''

test('two terminals: a release needs both, keys rotate, one leaves; the device follows all of it', async () => {
  const { house, person, device, dir, passphrase } = await setUp()
  const [ann, bob] = [person('ann'), person('bob')]
  must(await ann.publish('1.0', '--new-keys', '--admit', house.relay.admission ?? '', '--vendor-name', 'Ann'))
  const listed = JSON.parse(must(await ann.keys('list', '--json'))) as { vendor: string }
  const { vendor } = listed
  await device(vendor)
  expect(listed).toMatchObject({ people: [{ name: 'Ann', you: true }], thresholds: { root: 1, targets: 1 } })

  const card = must(await bob.offline('new', '--name', 'Bob'))
  must(await ann.keys('add', card))
  // Two of two holds once the second has signed for it too.
  const rule = linkIn(must(await ann.keys('threshold', '--releases', '2', '--key-changes', '2'), 4))
  expect(must(await bob.keys('sign', rule), 4)).toContain('2 of 2 must sign releases from now on, not 1.')
  must(await bob.keys('sign', rule, '--yes'))

  const proposed = linkIn(must(await ann.publish('2.0'), 4))
  expect((await device(vendor)).releases.map(({ version }) => version)).toEqual(['1.0'])
  const shown = must(await bob.keys('sign', proposed), 4)
  expect(shown).toMatch(/pump 2\.0 is released: 50000 bytes, SHA-256 [0-9a-f]{64}\.\nNot signed yet/)
  expect(must(await bob.keys('sign', proposed, '--yes'))).toContain('Signed, and published.')
  expect((await device(vendor)).releases.map(({ version }) => version)).toContain('2.0')
  expect((await bob.keys('sign', proposed, '--yes')).code).toBe(3)

  // Bob's keys are exchanged: his old and new ones sign, Ann co-signs.
  const before = fs.readFileSync(bob.keysFile, 'utf8')
  const rotation = linkIn(must(await bob.keys('rotate'), 4))
  must(await ann.keys('sign', rotation, '--yes'))
  const after = JSON.parse(must(await bob.keys('list', '--json'))) as { rootVersion: number }
  expect(after).toMatchObject({ rootVersion: 4, people: [{ name: 'Ann' }, { name: 'Bob', you: true }] })
  expect(fs.readFileSync(bob.keysFile, 'utf8')).not.toBe(before)
  expect((await device(vendor)).current.root.signed.version).toBe(4)
  expect(fs.statSync(bob.keysFile).mode & 0o777).toBe(0o600)

  // A backup, restored elsewhere, is the same person.
  const copy = path.join(dir, 'bob-backup.json')
  must(await bob.offline('backup', copy))
  const elsewhere = person('bob-elsewhere')
  must(await elsewhere.offline('restore', copy))
  expect(must(await elsewhere.keys('list'))).toContain('Bob (you)')
  expect((await elsewhere.offline('restore', copy)).code).toBe(3)
  fs.writeFileSync(passphrase, 'other words entirely\n')
  expect((await person('nobody').offline('restore', copy)).code).toBe(3)
  fs.writeFileSync(passphrase, 'four random words here\n')

  const removal = linkIn(must(await bob.keys('remove', 'Ann'), 4))
  must(await ann.keys('sign', removal, '--yes'))
  expect((await ann.publish('3.0')).code).toBe(3)
  must(await bob.publish('3.0'))
  expect((await device(vendor)).releases.map(({ version }) => version)).toContain('3.0')
}, 480_000)

test('the Nostr key is rotated from a terminal: alone at once, with two signers when both have; the old key announces nothing more', async () => {
  const { house, person, device } = await setUp()
  const [ann, bob, thief] = [person('ann'), person('bob'), person('thief')]
  must(await ann.publish('1.0', '--new-keys', '--admit', house.relay.admission ?? '', '--vendor-name', 'Ann'))
  const { vendor } = JSON.parse(must(await ann.keys('list', '--json'))) as { vendor: string }
  const nostrOf = async (one: typeof ann): Promise<string> =>
    (JSON.parse(must(await one.offline('show', '--json'))) as { nostr: string }).nostr
  const named = async () => (await device(vendor)).vendorBlock
  const first = await nostrOf(ann)
  expect((await named()).nostr).toBe(first)
  fs.cpSync(path.dirname(ann.keysFile), path.dirname(thief.keysFile), { recursive: true })

  expect(must(await ann.keys('rotate', '--role', 'nostr'))).toContain('The new Nostr key is in force.')
  const second = (await named()).nostr
  expect(second).not.toBe(first)
  expect((await named()).formerNostr).toEqual([first])
  must(await ann.publish('1.1'))
  expect(await nostrOf(ann)).toBe(second)
  // A copy from before has the old key alone: the torrents that it uploads are refused.
  const old = await thief.publish('1.2', '--vendor', vendor)
  expect(old.code, `${old.out}${old.err}`).not.toBe(0)
  expect((await device(vendor)).releases.map(({ version }) => version).toSorted()).toEqual(['1.0', '1.1'])

  must(await ann.keys('add', must(await bob.offline('new', '--name', 'Bob'))))
  const rule = linkIn(must(await ann.keys('threshold', '--releases', '2', '--key-changes', '2'), 4))
  must(await bob.keys('sign', rule, '--yes'))
  const link = linkIn(must(await ann.keys('rotate', '--role', 'nostr'), 4))
  expect((await named()).nostr).toBe(second)
  // Asked again while it waits: the same new key, not a third one.
  expect(linkIn(must(await ann.keys('rotate', '--role', 'nostr'), 4))).not.toBe('')
  expect(must(await bob.keys('sign', link), 4)).toMatch(/Nostr key/)
  must(await bob.keys('sign', link, '--yes'))
  const third = (await named()).nostr
  expect([first, second]).not.toContain(third)
  must(await ann.keys('list'))
  expect(await nostrOf(ann)).toBe(third)
}, 480_000)

test.skipIf(!hasOpenssl)(
  'a build machine releases one product with a key that another program holds, and nothing else',
  async () => {
    const { house, person, device, dir } = await setUp()
    const ann = person('ann')
    must(
      await ann.publish('1.0', '--new-keys', '--admit', house.relay.admission ?? '', '--vendor-name', 'Ann'),
    )
    const { vendor } = JSON.parse(must(await ann.keys('list', '--json'))) as { vendor: string }
    await device(vendor)

    const [secret, pub] = [path.join(dir, 'hsm.pem'), path.join(dir, 'hsm.pub')]
    const openssl = (...args: string[]) => execFileAsync('openssl', args)
    await openssl('genpkey', '-algorithm', 'ed25519', '-out', secret)
    await openssl('pkey', '-in', secret, '-pubout', '-out', pub)
    const signs = `f=$(mktemp) && cat > "$f" && openssl pkeyutl -sign -rawin -inkey '${secret}' -in "$f" | base64; rm -f "$f"`
    const ci = person('ci', '--sign-with', signs, '--sign-key', pub)
    must(await person('ci').offline('new'))
    const { nostr } = JSON.parse(must(await ci.offline('show', '--json', '--name', 'ci'))) as {
      nostr: string
    }

    expect((await ci.publish('2.0', '--vendor', vendor)).code).toBe(3)
    must(await ann.keys('delegate', 'pump', '--to', pub, '--name', 'ci', '--nostr', nostr))
    must(await ci.publish('2.0', '--vendor', vendor))
    const seen = await device(vendor)
    expect(seen.releases.map(({ version }) => version).toSorted()).toEqual(['1.0', '2.0'])
    expect(seen.ownReleases.map(({ version }) => version)).toEqual(['1.0'])
    const stray = await ci.publish('2.1', '--vendor', vendor, '--product', 'valve')
    expect(stray.code).not.toBe(0)
    // Not the key that it says it is: noticed before anything is sent.
    await openssl('genpkey', '-algorithm', 'ed25519', '-out', secret)
    expect(await ci.publish('2.2', '--vendor', vendor)).toMatchObject({ code: 1 })

    must(await ann.keys('undelegate', 'pump'))
    expect((await device(vendor)).releases.map(({ version }) => version)).toEqual(['1.0'])
    expect((await ci.publish('2.3', '--vendor', vendor)).code).toBe(3)
  },
  480_000,
)
