/** Where wallet and allowances stand in the picture of layers: columns by depth, a line for each that has none below. */
import type { AllowanceView } from '../../edge/allowance/api.ts'

/** `name`: as much of it as there is room for. */
export type Node = Readonly<{ one: AllowanceView; name: string; x: number; y: number; thread: string }>
export type Picture = Readonly<{
  root: { x: number; y: number }
  nodes: readonly Node[]
  width: number
  height: number
}>

const LINE = 42
const TOP = 24
const ROOT_X = 15
const ROOT_R = 13
const NODE_R = 10
/** The last column leaves room for its names. */
const NAMES = 150
/** From a node to its name, and from that to the next node. */
const BESIDE = 28
/** A letter of a name, on average. */
const LETTER = 7
const LEAST_COLUMN = 128
const MOST_COLUMN = 220

/** `mine` has parents before children; `width` in px. */
export function arrange(mine: readonly AllowanceView[], width: number): Picture {
  const depth = Math.max(1, ...mine.map((one) => one.depth))
  const column = Math.min(MOST_COLUMN, Math.max(LEAST_COLUMN, (width - ROOT_X - NAMES) / depth))
  const nodes: Node[] = []
  let line = 0

  /** Gives its height, and draws what is below it. */
  function place(one: AllowanceView): number {
    const below = mine.filter((other) => other.source.id === one.id).map(place)
    const y = below.length > 0 ? mean(below) : TOP + LINE * line++
    const letters = Math.floor(((below.length > 0 ? column : NAMES) - BESIDE) / LETTER)
    const name = one.name.length > letters ? `${one.name.slice(0, letters - 1)}…` : one.name
    nodes.push({ one, name, x: ROOT_X + column * one.depth, y, thread: '' })
    return y
  }
  const tops = mine.filter((one) => one.depth === 1).map(place)
  const root = { x: ROOT_X, y: tops.length > 0 ? mean(tops) : TOP }
  const from = (node: Node): { x: number; y: number; r: number } => {
    const parent = nodes.find((other) => other.one.id === node.one.source.id)
    return parent ? { x: parent.x, y: parent.y, r: NODE_R } : { ...root, r: ROOT_R }
  }
  return {
    root,
    nodes: nodes.map((node) => ({ ...node, thread: threadOf(from(node), node) })),
    width: Math.max(width, ROOT_X + column * depth + NAMES),
    height: TOP + LINE * Math.max(1, line) - 10,
  }
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length

function threadOf(from: { x: number; y: number; r: number }, to: { x: number; y: number }): string {
  const [x0, x1] = [from.x + from.r, to.x - NODE_R]
  const bend = x0 + (x1 - x0) * 0.45
  return `M${x0} ${from.y}C${bend} ${from.y} ${bend} ${to.y} ${x1} ${to.y}`
}
