/** A test with an arena of its own, closed whatever happens. */
import { Arena } from './arena.ts'

export async function inArena(
  run: (arena: Arena) => Promise<void>,
  pieces = 5,
  options: { holdLimitMs?: number } = {},
): Promise<void> {
  const arena = await Arena.open(pieces, undefined, options.holdLimitMs)
  try {
    await run(arena)
  } finally {
    await arena.close()
  }
}
