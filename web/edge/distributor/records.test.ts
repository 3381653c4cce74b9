import { expect, test } from 'vitest'
import type { VendorId } from '../../core/bytes.ts'
import { memoryJournal } from '../swarm/memory.ts'
import { metadataStore } from './records.ts'

test('metadata of any delegate is kept under keys that a file system takes', async () => {
  const journal = memoryJournal()
  const store = metadataStore(journal, 'ab'.repeat(32) as VendorId)
  const names = [
    'timestamp.json',
    `delegated/product-${'p'.repeat(56)}.json`,
    `delegated/${'~'.repeat(200)}.json`,
  ]
  for (const name of names) await store.put(name, name)
  for (const key of journal.records.keys()) expect(key).toMatch(/^[a-z0-9/-]{1,200}$/)
  for (const name of names) expect(await store.get(name)).toBe(name)
})
