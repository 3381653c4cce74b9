import { expect, test } from 'vitest'
import { MAX_SQUARES, countPieces, grid, hasPiece, runsPath, squaresPath } from './bitmap.ts'

test('bits are read in BEP 3 order, highest first', () => {
  const have = new Uint8Array([0b1000_0001, 0b0100_0000])
  expect([0, 1, 7, 8, 9].map((i) => hasPiece(have, i))).toEqual([true, false, true, false, true])
  expect(countPieces(have, 9)).toBe(2)
  expect(countPieces(have, 10)).toBe(3)
})

test('runs are drawn exactly, the last one too', () => {
  expect(runsPath(4, (i) => i !== 1)).toBe('M0 0H1V1H0zM2 0H4V1H2z')
  expect(runsPath(4, () => false)).toBe('')
})

test('a map never draws more than its bound, and drops no piece', () => {
  expect(grid(192, 24)).toEqual({ columns: 24, rows: 8, perSquare: 1, squares: 192 })
  expect(grid(1, 24)).toEqual({ columns: 24, rows: 1, perSquare: 1, squares: 1 })
  expect(grid(MAX_SQUARES, 40).perSquare).toBe(1)
  const big = grid(MAX_SQUARES + 1, 40)
  expect(big.perSquare).toBe(2)
  expect(big.squares * big.perSquare).toBeGreaterThanOrEqual(MAX_SQUARES + 1)
  expect(squaresPath(grid(3, 2), 1, 2, (i) => i === 2)).toBe('M0 2h1v1h-1z')
})
