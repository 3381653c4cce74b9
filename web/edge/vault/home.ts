/** The vault's place in a browser: one IndexedDB store, where CryptoKeys stay unreadable. */
import { createStore, del, get, keys, set } from 'idb-keyval'
import type { VaultHome } from './vault.ts'

export function browserHome(): VaultHome {
  const store = createStore('satpatch-vault', 'kept')
  return {
    get: (name) => get<unknown>(name, store),
    put: (name, value) => set(name, value, store),
    delete: (name) => del(name, store),
    names: async () => (await keys(store)).filter((name) => typeof name === 'string'),
  }
}
