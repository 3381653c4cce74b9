import { expect, test } from 'vitest'
import { ago, elapsed, pieceSize, plural, sats, size } from './format.ts'

test('amounts keep their thousandths in ledgers, and in tallies below 100', () => {
  expect(sats(76_250)).toBe('76.250')
  expect(sats(2_200_999, 'tally')).toBe('2,200')
  expect(sats(99_999, 'tally')).toBe('99.999')
  expect(sats(100_000, 'tally')).toBe('100')
  expect(sats(0, 'tally')).toBe('0')
})

test('sizes are binary and name their unit', () => {
  expect(size(0)).toBe('0 bytes')
  expect(size(1)).toBe('1 byte')
  expect(size(1023)).toBe('1,023 bytes')
  expect(size(48 * 1024 * 1024)).toBe('48.0 MiB')
  expect(size(1.2 * 1024 ** 3)).toBe('1.20 GiB')
  expect(pieceSize(262_144)).toBe('256 KiB')
})

test('time: m:ss, h:mm:ss, and relative words only below a minute', () => {
  expect(elapsed(401_000)).toBe('6:41')
  expect(elapsed(3_661_000)).toBe('1:01:01')
  expect(ago(1000, 1500)).toBe('just now')
  expect(ago(0, 59_000)).toBe('59 s ago')
  expect(ago(0, 61_000)).toMatch(/^at \d\d:\d\d$/)
})

test('one thing is one thing', () => {
  expect(plural(1, 'copy', 'copies')).toBe('1 copy')
  expect(plural(0, 'device')).toBe('0 devices')
})
