import { expect, test } from 'vitest'
import { AppError, words } from './errors.ts'

test('an error with a code keeps its sentence and gets its action', () => {
  const error = Object.assign(new Error('Version 1.0 is not newer than 1.2'), { code: 'not-newer' })
  expect(words(error)).toEqual({
    what: 'Version 1.0 is not newer than 1.2.',
    todo: 'Give it a higher version. Nothing was published.',
  })
})

test('an error that says what to do itself is left alone', () => {
  const error = Object.assign(new Error('The relay does not answer. Start it again.'), {
    code: 'unreachable',
  })
  expect(words(error)).toEqual({ what: 'The relay does not answer. Start it again.', todo: '' })
})

test('browser errors are told by their name, not by their English', () => {
  expect(words(new DOMException('quota', 'QuotaExceededError')).what).toMatch(/no room left/)
  expect(words(new AppError('insecure')).todo).toMatch(/--tls-cert/)
})

test('anything thrown gets words', () => {
  for (const thrown of [undefined, null, 'text', 7, {}, new Error('')]) {
    expect(words(thrown).what).toBe('That did not work.')
  }
  expect(words(new TypeError('Failed to fetch')).what).toBe('Failed to fetch.')
})
