/** `satpatch keys …`: who signs for a vendor, from a terminal or a build machine. The page `/keys` does the same. */
import type { Command } from './command.ts'
import { backup, fresh, restore, show } from './keys/file.ts'
import { list } from './keys/list.ts'
import { add, remove, threshold } from './keys/people.ts'
import { delegate, undelegate } from './keys/products.ts'
import { rotate } from './keys/rotate.ts'
import { sign } from './keys/sign.ts'

export const keysCommands: readonly Command[] = [
  list,
  fresh,
  show,
  add,
  remove,
  threshold,
  rotate,
  delegate,
  undelegate,
  sign,
  backup,
  restore,
]
