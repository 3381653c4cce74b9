/** Good repositories made hostile, each in one way, and how the client is to refuse them. */
import { fromUtf8, utf8, type Bytes } from '../bytes.ts'
import { assemble, buildRoot, buildSnapshot, buildTargets, buildTimestamp } from './repository.ts'
import { signWith, testEntry, testKey, testKeys, testVendor, type testRepository } from './test-repository.ts'

const DAY = 86_400_000
type TestRepository = ReturnType<typeof testRepository>

/** Role and refusal, and the attack on a repository that was made at `now` (Unix ms). */
export const attacksOf = (
  now: number,
): Readonly<Record<string, readonly [expected: string, attack: (repository: TestRepository) => void]>> => ({
  'root signed by another key': [
    'root: arbitrary-software',
    ({ files, publics, rootOf }) => {
      files['2.root.json'] = signWith(rootOf(2, publics), testKey('mallory'))
    },
  ],
  'a new root key that the old one did not sign': [
    'root: arbitrary-software',
    ({ files, publics, rootOf }) => {
      const mallory = testKey('mallory')
      files['2.root.json'] = signWith(rootOf(2, { ...publics, root: [mallory.public] }), mallory)
    },
  ],
  'a new root that its own key did not sign': [
    'root: arbitrary-software',
    ({ files, publics, rootOf }) => {
      files['2.root.json'] = signWith(rootOf(2, { ...publics, root: [testKey('two').public] }), testKeys.root)
    },
  ],
  'a root that skips a version': [
    'root: rollback',
    ({ files, publics, rootOf }) => {
      files['2.root.json'] = signWith(rootOf(3, publics), testKeys.root)
    },
  ],
  'an expired root': [
    'root: freeze',
    ({ files, publics }) => {
      const root = buildRoot({ version: 2, nowMs: now - 4000 * DAY, keys: publics })
      files['2.root.json'] = signWith(root, testKeys.root)
    },
  ],
  'a timestamp signed by another key': [
    'timestamp: arbitrary-software',
    ({ files }) => {
      const snapshot = files['1.snapshot.json']!
      files['timestamp.json'] = signWith(
        buildTimestamp({ version: 1, nowMs: now, snapshotVersion: 1, snapshot }),
        testKey('m'),
      )
    },
  ],
  'an expired timestamp': [
    'timestamp: freeze',
    ({ files }) => {
      const snapshot = files['1.snapshot.json']!
      const signed = buildTimestamp({ version: 1, nowMs: now - 2 * DAY, snapshotVersion: 1, snapshot })
      files['timestamp.json'] = signWith(signed, testKeys.timestamp)
    },
  ],
  'a snapshot with one byte more': [
    'snapshot: mix-and-match',
    ({ files }) => {
      files['1.snapshot.json'] = utf8(`${fromUtf8(files['1.snapshot.json']!)} `)
    },
  ],
  'targets that the snapshot does not list': [
    'targets: mix-and-match',
    ({ files }) => {
      const signed = buildTargets({
        version: 1,
        nowMs: now,
        targets: [testEntry('6.6.6')],
        vendor: testVendor,
      })
      files['1.targets.json'] = signWith(signed, testKeys.targets)
    },
  ],
  'targets signed by the relay': [
    'targets: arbitrary-software',
    (repo) => {
      const signed = buildTargets({
        version: 1,
        nowMs: now,
        targets: [testEntry('6.6.6')],
        vendor: testVendor,
      })
      relist(repo, now, signWith(signed, testKeys.snapshot, testKeys.timestamp))
    },
  ],
  'targets with one signature of another message': [
    'targets: arbitrary-software',
    (repo) => {
      const envelope = JSON.parse(fromUtf8(repo.files['1.targets.json']!)) as {
        signed: object
        signatures: []
      }
      relist(repo, now, assemble({ ...envelope.signed, version: 1, extra: true }, envelope.signatures))
    },
  ],
  'expired targets': [
    'targets: freeze',
    (repo) => {
      const signed = buildTargets({ version: 1, nowMs: now - 31 * DAY, targets: [], vendor: testVendor })
      relist(repo, now, signWith(signed, testKeys.targets))
    },
  ],
  'targets of another version than listed': [
    'targets: mix-and-match',
    (repo) => {
      const signed = buildTargets({ version: 2, nowMs: now, targets: [], vendor: testVendor })
      relist(repo, now, signWith(signed, testKeys.targets))
    },
  ],
  'a snapshot of another version than listed': [
    'snapshot: mix-and-match',
    ({ files }) => {
      const targets = files['1.targets.json']!
      const snapshot = signWith(
        buildSnapshot({ version: 2, nowMs: now, targetsVersion: 1, targets }),
        testKeys.snapshot,
      )
      files['1.snapshot.json'] = snapshot
      files['timestamp.json'] = signWith(
        buildTimestamp({ version: 1, nowMs: now, snapshotVersion: 1, snapshot }),
        testKeys.timestamp,
      )
    },
  ],
})

/** The relay's keys list other targets, as a hostile relay could. */
function relist({ files }: TestRepository, now: number, targets: Bytes): void {
  files['1.targets.json'] = targets
  const snapshot = signWith(
    buildSnapshot({ version: 1, nowMs: now, targetsVersion: 1, targets }),
    testKeys.snapshot,
  )
  files['1.snapshot.json'] = snapshot
  files['timestamp.json'] = signWith(
    buildTimestamp({ version: 1, nowMs: now, snapshotVersion: 1, snapshot }),
    testKeys.timestamp,
  )
}
