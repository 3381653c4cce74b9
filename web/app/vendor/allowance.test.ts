import { expect, test } from 'vitest'
import { msat } from '../../core/money/msat.ts'
import { givenWords, readAllowance } from './allowance.ts'

const holds = (sats: number) => ({ msat: msat(sats * 1000), money: 'sandbox:relay' }) as const

test('an allowance is read in sats, to the msat, and checked against what the wallet holds', () => {
  expect(readAllowance(' 500 ', undefined)).toEqual({ msat: 500_000 })
  expect(readAllowance('0.125', holds(1))).toEqual({ msat: 125 })
  expect(readAllowance('1', holds(1))).toEqual({ msat: 1000 })
  expect(readAllowance('1.001', holds(1))).toEqual({ fault: 'Your wallet holds 1.000 play sats.' })
})

test('0 is none where none may be given; words, signs and fractions of a msat are refused', () => {
  expect(readAllowance('0', undefined)).toEqual({ msat: 0 })
  expect(readAllowance('0', undefined, 'some').fault).toBe('More than 0.')
  for (const text of ['', 'lots', '-1', '1e3', '1,5', '0.0001', '12345678901'])
    expect(readAllowance(text, undefined).fault).toBe('A number of sats, 0 for none.')
})

test('what is said names what the device has, not what was typed the second time', () => {
  const { msat: amount, money } = holds(500)
  expect(givenWords('pi', { again: false, amount }, money)).toBe('pi has been given 500 play sats')
  expect(givenWords('pi', { again: true, amount }, money)).toBe(
    'pi has not taken up its allowance of 500 play sats yet: told again. Nothing was added',
  )
  expect(givenWords('pi', { again: true }, money)).toMatch(/^pi has not taken up its allowance yet/)
})
