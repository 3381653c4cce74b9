/** Small texts in IndexedDB: trusted metadata, join secrets. Puts are atomic transactions. */
import { createStore, del, get, set } from 'idb-keyval'
import type { TextStore } from '../../edge/release/store.ts'

export function idbStore(database: string): TextStore {
  const store = createStore(database, 'texts')
  return {
    get: (name) => get<string>(name, store),
    put: (name, text) => set(name, text, store),
    delete: (name) => del(name, store),
  }
}
