/** `TextStore` of web/edge/release/store.ts on a file system: one durable file per name. */
import { readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { TextStore } from '../../web/edge/release/store.ts'
import { makeDirectory, writeDurably } from './durable.ts'
import { errnoOf, storageError } from './errors.ts'

const NAME = /^[A-Za-z0-9._~%-]+(\/[A-Za-z0-9._~%-]+)*$/

export function openTextStore(directory: string): TextStore {
  const fileOf = (name: string): string => {
    if (!NAME.test(name) || name.split('/').some((part) => part === '.' || part === '..')) {
      throw new RangeError(`not a name: ${name.slice(0, 80)}`)
    }
    return join(directory, name)
  }
  return {
    async get(name) {
      const path = fileOf(name)
      try {
        return await readFile(path, 'utf8')
      } catch (error) {
        if (errnoOf(error) === 'ENOENT') return undefined
        throw storageError(error, path)
      }
    },
    async put(name, text) {
      const path = fileOf(name)
      await makeDirectory(dirname(path))
      await writeDurably(path, text)
    },
    async delete(name) {
      await rm(fileOf(name), { force: true })
    },
  }
}
