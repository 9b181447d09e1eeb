/** ONNX's Scan: a loop over the rows of tensors, whose body is a graph. */
import { rangeError, typeError } from '../errors.js'
import { unbind } from '../ops/pieces.js'
import { stack } from '../ops/shape.js'
import type { Tensor } from '../tensor.js'
import { Attributes } from './attributes.js'
import type { Given } from './operator.js'
import type { FileBody, FileNode } from './read.js'
import { axisOf, tensorOf, type Val } from './values.js'

/** Which dimension the steps are, and whether they are taken from the last to the first. */
interface Way {
  axis: number
  reverse: boolean
}

/** A Scan as it stands in the file. */
export interface ScanNode {
  body: FileBody
  /** How many values go from step to step. */
  states: number
  inputs: readonly Way[]
  outputs: readonly Way[]
}

/** A Scan whose body is steps of a plan, under names that no other value has. */
export interface LoopPlan<Step> extends Omit<ScanNode, 'body'> {
  steps: readonly Step[]
  /** What a step begins with: states, then a row of each input. */
  takes: readonly string[]
  /** What it ends with: states, then what is put out. */
  gives: readonly string[]
}

/** @throws Error that names the node */
export function scanOf(node: FileNode, opset: number): ScanNode {
  const given = new Attributes(node, [
    'body',
    'num_scan_inputs',
    'scan_input_axes',
    'scan_input_directions',
    'scan_output_axes',
    'scan_output_directions',
  ])
  if (opset < 9)
    return given.refuse(`loops are read from version 9 of the operators on, not of ${opset}`)
  const body = given.graph('body')
  if (body === null) return given.refuse("attribute 'body' is missing")
  const inputs = given.int('num_scan_inputs', null)
  const states = node.inputs.length - (inputs ?? 0)
  if (inputs === null || inputs < 1 || states < 0)
    return given.refuse(
      `attribute 'num_scan_inputs': expected 1 to ${node.inputs.length}, got ${inputs ?? 'none'}`,
    )
  if (node.inputs.includes('')) return given.refuse('one of its inputs is left out')
  const outputs = node.outputs.length - states
  const fits =
    outputs >= 0 &&
    body.inputs.length === node.inputs.length &&
    body.outputs.length === node.outputs.length
  if (!fits)
    return given.refuse(
      `damaged: ${node.inputs.length} inputs and ${node.outputs.length} outputs, of its body ${body.inputs.length} and ${body.outputs.length}`,
    )
  const ways = (what: 'input' | 'output', count: number): Way[] => {
    const list = (name: string): readonly number[] => {
      const numbers = given.ints(name) ?? Array.from({ length: count }, () => 0)
      if (numbers.length !== count)
        given.refuse(`attribute '${name}': expected ${count} numbers, got ${numbers.length}`)
      return numbers
    }
    const [axes, directions] = [list(`scan_${what}_axes`), list(`scan_${what}_directions`)]
    return axes.map((axis, i) => {
      const direction = directions[i] as number
      if (direction !== 0 && direction !== 1)
        given.refuse(`attribute 'scan_${what}_directions': expected 0 or 1, got ${direction}`)
      return { axis, reverse: direction === 1 }
    })
  }
  return { body, states, inputs: ways('input', inputs), outputs: ways('output', outputs) }
}

/**
 * The states behind the last step, and the outputs of all steps.
 * @param outer values by name, which the body may use
 * @param take runs one step of a plan, and puts what it gives among the values
 */
export function runLoop<Step>(
  plan: LoopPlan<Step>,
  given: Given,
  outer: ReadonlyMap<string, Val>,
  device: string,
  take: (step: Step, values: Map<string, Val>) => void,
): Val[] {
  let states = given.slice(0, plan.states) as Val[]
  const rows = plan.inputs.map(({ axis, reverse }, i): Tensor[] => {
    const x = tensorOf(given[plan.states + i] as Val, device)
    const parts = unbind(x, axisOf(axis, x.shape.length, 'scan_input_axes'))
    return reverse ? parts.reverse() : parts
  })
  const count = (rows[0] as Tensor[]).length
  const other = rows.find(({ length }) => length !== count)
  if (other !== undefined)
    throw rangeError('onnx', 'inputs', `as many steps as in the first, ${count}`, `${other.length}`)
  if (count === 0 && plan.outputs.length > 0)
    throw rangeError('onnx', 'inputs', 'at least one step', '0')
  const outputs: Tensor[][] = plan.outputs.map(() => [])
  const values = new Map(outer)
  for (let t = 0; t < count; t++) {
    const begin = [...states, ...rows.map((parts) => parts[t] as Tensor)]
    plan.takes.forEach((name, i) => {
      values.set(name, begin[i] as Val)
    })
    for (const step of plan.steps) take(step, values)
    const end = plan.gives.map((name) => {
      const value = values.get(name)
      if (value === undefined) throw typeError('onnx', 'body', `a value of ${name}`, undefined)
      return value
    })
    states = end.slice(0, plan.states)
    outputs.forEach((list, i) => {
      list.push(tensorOf(end[plan.states + i] as Val, device))
    })
  }
  const together = outputs.map((list, i) => {
    const { axis, reverse } = plan.outputs[i] as Way
    const rank = (list[0] as Tensor).shape.length + 1
    return stack(reverse ? list.reverse() : list, axisOf(axis, rank, 'scan_output_axes'))
  })
  return [...states, ...together]
}
