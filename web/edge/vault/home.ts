/** The vault's place in a browser: one IndexedDB store, where CryptoKeys stay unreadable. */
import { createStore, del, get, keys, set, update } from 'idb-keyval'
import type { VaultHome } from './vault.ts'

export function browserHome(): VaultHome {
  const store = createStore('satpatch-vault', 'kept')
  return {
    get: (name) => get<unknown>(name, store),
    put: (name, value) => set(name, value, store),
    async putFirst(name, value) {
      let first = value
      // One transaction: of two tabs that begin at once, the second finds what the first has put.
      await update<unknown>(name, (there) => (first = there ?? value), store)
      return first
    },
    delete: (name) => del(name, store),
    names: async () => (await keys(store)).filter((name) => typeof name === 'string'),
  }
}
