import { expect, test } from 'vitest'
import { msat } from '../../core/money/msat.ts'
import type { AllowanceId, AllowanceView } from '../../edge/allowance/api.ts'
import { ofWallet } from './allowances-tree.ts'
import { arrange } from './layers.ts'

const view = (id: string, source: AllowanceView['source'], depth: number): AllowanceView => ({
  id: id as AllowanceId,
  client: '',
  service: '',
  name: id,
  source,
  home: 'here',
  depth,
  state: 'active',
  limit: msat(1000),
  extra: msat(0),
  renewal: 'never',
  may: { pay: true, receive: false },
  spent: msat(0),
  reserved: msat(0),
  unknown: msat(0),
  left: msat(1000),
  totalSpent: msat(0),
  totalReceived: msat(0),
  flows: [],
  latency: {},
})
const wallet = { tag: 'wallet', id: 'w' } as const
const under = (id: string) => ({ tag: 'allowance', id: id as AllowanceId }) as const
const list = [
  view('fleet', wallet, 1),
  view('ring', under('fleet'), 2),
  view('elsewhere', { tag: 'wallet', id: 'x' }, 1),
  view('pi', under('ring'), 3),
  view('early', under('fleet'), 2),
  view('shop', wallet, 1),
]

test('an allowance stands below what it was cut from, at any depth; others’ are left out', () => {
  expect(ofWallet(list, 'w').map(({ name }) => name)).toEqual(['fleet', 'ring', 'pi', 'early', 'shop'])
})

test('columns are layers, no two stand in one place, and each thread begins at its source', () => {
  const { nodes, root, height } = arrange(ofWallet(list, 'w'), 700)
  expect(new Set(nodes.map(({ x, y }) => `${x} ${y}`)).size).toBe(nodes.length)
  for (const { one, x, y, thread } of nodes) {
    expect(y).toBeLessThan(height)
    const parent = nodes.find((node) => node.one.id === one.source.id) ?? root
    expect(x).toBeGreaterThan(parent.x)
    expect(thread).toContain(` ${parent.y}C`)
  }
})

test('a long name ends before what was cut from it begins, however narrow the page', () => {
  const long = list.map((one) => ({ ...one, name: `${one.name} of the house by the lake` }))
  const { nodes } = arrange(ofWallet(long, 'w'), 288)
  const [fleet, ring] = nodes.filter(({ one }) => one.id === 'fleet' || one.id === 'ring').toReversed()
  expect(fleet?.name).toMatch(/^fleet .*…$/)
  expect((fleet?.x ?? 0) + 16 + 7 * (fleet?.name.length ?? 0)).toBeLessThan((ring?.x ?? 0) - 7)
})
