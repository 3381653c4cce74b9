import { expect, test } from 'vitest'
import { missingServer } from './ice.svelte.ts'

test('the missing server is named, by what is configured already', () => {
  expect(missingServer([])).toMatch(/--stun, and with --turn/)
  expect(missingServer([{ urls: 'stun:stun.example.net:3478' }])).toMatch(/TURN server too \(--turn\)/)
  expect(missingServer([{ urls: ['stun:a', 'turn:b'], username: 'u', credential: 'c' }])).toMatch(
    /cannot be reached/,
  )
})
