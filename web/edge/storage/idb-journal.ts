/** `Journal` of web/edge/swarm/api.ts in a browser: one IndexedDB store, each put on the medium before it resolves. */
import { concat, type Bytes } from '../../core/bytes.ts'
import type { Journal } from '../swarm/api.ts'

const STORE = 'records'

export type BrowserJournal = Journal & Readonly<{ close(): void }>

/** Opens the journal `name`; tabs of one origin see the same records. */
export function openIdbJournal(name: string): BrowserJournal {
  let opened: Promise<IDBDatabase> | undefined

  function database(): Promise<IDBDatabase> {
    opened ??= new Promise((resolve, reject) => {
      const request = indexedDB.open(name, 1)
      request.onupgradeneeded = () => request.result.createObjectStore(STORE)
      request.onsuccess = () => {
        const db = request.result
        // Browsers close it when storage is cleared, and other tabs ask for it: the next use opens it anew.
        db.onclose = () => (opened = undefined)
        db.onversionchange = () => {
          db.close()
          opened = undefined
        }
        resolve(db)
      }
      request.onerror = () => {
        opened = undefined
        reject(failure(request.error))
      }
    })
    return opened
  }

  async function run<T>(mode: IDBTransactionMode, use: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
    const db = await database()
    return new Promise((resolve, reject) => {
      // `strict`: complete means written to the medium, not only handed to the system.
      const transaction = db.transaction(STORE, mode, { durability: 'strict' })
      const request = use(transaction.objectStore(STORE))
      transaction.oncomplete = () => resolve(request.result)
      transaction.onabort = () => reject(failure(transaction.error ?? request.error))
    })
  }

  return {
    async put(key, ...parts) {
      // A copy: a view into a larger buffer would store all of that buffer.
      const record = concat(...parts)
      await run('readwrite', (store) => store.put(record, key))
    },
    async get(key) {
      const value: unknown = await run('readonly', (store) => store.get(key))
      return value instanceof Uint8Array ? (value as Bytes) : undefined
    },
    async delete(key) {
      await run('readwrite', (store) => store.delete(key))
    },
    async keys(prefix) {
      const range = IDBKeyRange.bound(prefix, `${prefix}\uffff`)
      const keys = await run('readonly', (store) => store.getAllKeys(range))
      return keys.filter((key) => typeof key === 'string')
    },
    close() {
      void opened?.then((db) => db.close()).catch(() => undefined)
      opened = undefined
    },
  }
}

/** Its name stays the browser's (`QuotaExceededError`), which the pages know how to explain. */
function failure(cause: DOMException | null): Error {
  return cause ?? new DOMException('This browser stored nothing: its storage stopped.', 'UnknownError')
}
