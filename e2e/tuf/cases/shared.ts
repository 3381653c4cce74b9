/** What the cases of all roles share. */
import type { Client } from '../client.ts'
import type { KeyKind, Repository } from '../repository.ts'

export const now = Date.UTC(2026, 5, 1)
export const everything = { 'root.json': 1, 'snapshot.json': 1, 'targets.json': 1, 'timestamp.json': 1 }
export const firstRefresh = ['2.root.json', 'timestamp.json', '1.snapshot.json', '1.targets.json']
/** A signature that looks like one of each kind and is not. */
export const wrongSignature = {
  ed25519: 'b6'.repeat(64),
  ecdsa: '3046022100fa',
  rsa: '12'.repeat(256),
} as const

export type Cases = Readonly<{
  /** A client of that repository; it is stopped after the test. */
  start: (repository: Repository, trusted?: Buffer, prefix?: string) => Promise<Client>
  repo: (...kinds: KeyKind[]) => Repository
  /** The cases with hundreds of files too. */
  long: boolean
}>
