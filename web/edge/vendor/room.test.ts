import { expect, test } from 'vitest'
import type { PartyKey } from '../../core/bytes.ts'
import { createRoom } from './room.ts'

const [member, late, stranger] = ['member', 'late', 'stranger'] as unknown as [PartyKey, PartyKey, PartyKey]

test('a flood of strangers takes no room of the fleet, and the other way round', () => {
  const room = createRoom<string>({ members: 3, each: 3, strangers: 2 }, (key) => key === member)
  for (let i = 0; i < 100; i++) expect(room.add(`s${i}`, stranger, `s${i}`)).toBe(true)
  for (let i = 0; i < 3; i++) expect(room.add(`m${i}`, member, `m${i}`)).toBe(true)
  expect(room.add('m3', member, 'm3')).toBe(false)
  expect(room.add('m0', member, 'again')).toBe(false)
  expect(room.add('s99', stranger, 'again')).toBe(false)
  expect([...room.values()]).toEqual(['m0', 'm1', 'm2', 's98', 's99'])
})

test('what a key said before it was enrolled is not dropped for later strangers', () => {
  const members = new Set([member])
  const room = createRoom<string>({ members: 3, each: 3, strangers: 2 }, (key) => members.has(key))
  room.add('early', late, 'early')
  members.add(late)
  for (let i = 0; i < 10; i++) room.add(`s${i}`, stranger, `s${i}`)
  expect([...room.values()]).toEqual(['early', 's8', 's9'])
  expect(room.has('early')).toBe(true)
})

test('one device of the fleet does not use up the room of the others', () => {
  const room = createRoom<string>({ members: 10, each: 2, strangers: 2 }, (key) => key !== stranger)
  expect(['a', 'b', 'c'].map((id) => room.add(id, member, id))).toEqual([true, true, false])
  expect(room.add('d', late, 'd')).toBe(true)
  expect([...room.values()]).toEqual(['a', 'b', 'd'])
})
