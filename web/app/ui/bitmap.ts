/** Piece bitmaps as SVG paths: one path per shade, whatever the number of pieces. Bits are in BEP 3 order. */

export const hasPiece = (have: Uint8Array, piece: number): boolean =>
  ((have[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) !== 0

export function countPieces(have: Uint8Array, pieces: number): number {
  let n = 0
  for (let i = 0; i < pieces; i++) if (hasPiece(have, i)) n++
  return n
}

/** Runs of pieces that `is` true for, as a path in a box `pieces` wide and 1 high. */
export function runsPath(pieces: number, is: (piece: number) => boolean): string {
  let d = ''
  let start = -1
  for (let i = 0; i <= pieces; i++) {
    const on = i < pieces && is(i)
    if (on && start < 0) start = i
    if (!on && start >= 0) {
      d += `M${start} 0H${i}V1H${start}z`
      start = -1
    }
  }
  return d
}

/** Most squares a map draws; beyond it one square stands for several pieces. */
export const MAX_SQUARES = 1200

export type Grid = { columns: number; rows: number; perSquare: number; squares: number }

/** Squares for `pieces`, `columns` a row: each stands for the same number of pieces. */
export function grid(pieces: number, columns: number): Grid {
  const perSquare = Math.max(1, Math.ceil(pieces / MAX_SQUARES))
  const squares = Math.ceil(pieces / perSquare)
  // Few pieces leave the row half empty: a square is always of the same size.
  return { columns, rows: Math.max(1, Math.ceil(squares / columns)), perSquare, squares }
}

/** Unit squares with a gap, of those indices that `is` true for. */
export function squaresPath(g: Grid, side: number, pitch: number, is: (square: number) => boolean): string {
  let d = ''
  for (let i = 0; i < g.squares; i++) {
    if (is(i))
      d += `M${(i % g.columns) * pitch} ${Math.floor(i / g.columns) * pitch}h${side}v${side}h-${side}z`
  }
  return d
}
