# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The costs of a compiled step on a chip: cycles, bytes, collectives.

Where a cost is not known exactly it is counted too low, so that times computed
from it are lower bounds.
"""

import dataclasses
import re
from collections.abc import Iterator

from vit_jax.plan.hlo import (
  Computation,
  Instruction,
  Module,
  parse_index,
  parse_module,
  walk,
)

# Bytes that a collective over n devices brings into each of them, per byte of
# its larger side. A ring needs no more, and no algorithm less.
RECEIVED = {
  "all-gather": lambda n: (n - 1) / n,
  "reduce-scatter": lambda n: (n - 1) / n,
  "all-to-all": lambda n: (n - 1) / n,
  "all-reduce": lambda n: 2 * (n - 1) / n,
  "collective-permute": lambda n: 1.0,
}
CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
# Opcodes that move no byte of main memory, or are counted where they start.
FREE = re.compile(
  r"parameter|get-tuple-element|tuple|bitcast|constant|while|call|conditional"
  r"|iota|after-all|optimization-barrier|(partition|replica)-id"
  r"|send|recv|async-.*|.*-done"
)
SLICES = ("slice", "dynamic-slice", "gather")
# Opcodes that write in place -> the index of the operand that is written.
UPDATES = {"dynamic-update-slice": 1, "scatter": 2}
# Beginning of the names of fusions that go on with a collective that started.
CONTINUED = "async_collective_fusion"
# Opcodes that in a fusion read only those elements of which they are asked.
SHAPING = ("bitcast", "convert", "copy", "reshape", "transpose")


@dataclasses.dataclass
class Collective:
  """All collectives of a kind in one step.

  Attributes:
    times: number of runs.
    received: bytes that each chip receives.
  """

  times: int = 0
  received: float = 0.0


@dataclasses.dataclass
class Program:
  """The costs of a step on a chip.

  Attributes:
    cycles: the compiler's estimate, summed over all fusions.
    traffic: bytes from and to main memory.
    collectives: name -> traffic over the links between chips of a slice.
    slices: traffic over the data-centre network between slices.
  """

  cycles: int
  traffic: int
  collectives: dict[str, Collective]
  slices: Collective

  @property
  def received(self) -> float:
    """Bytes that each chip receives from others of its slice."""
    return sum((x.received for x in self.collectives.values()), 0.0)


def read_program(text: str, devices: int) -> Program:
  """Adds up the costs of a compiled program.

  Args:
    text: the program, from `compiled.as_text()`.
    devices: number of devices that it runs on.
  """
  module = parse_module(text)
  program = Program(0, 0, {}, Collective())
  for computation, instruction, times in walk(module):
    found = CYCLES.search(instruction.attributes)
    program.cycles += times * int(found[1]) if found else 0
    program.traffic += times * count_traffic(module, computation, instruction)
    if instruction.opcode == "send":
      # Between slices: the host sends for its chips.
      program.slices.times += times
      program.slices.received += times * instruction.arrays[0].size
    for kind, size, attributes in find_collectives(
      module, computation, instruction
    ):
      group = parse_group_size(attributes, devices)
      entry = program.collectives.setdefault(kind, Collective())
      entry.times += times
      entry.received += times * size * RECEIVED[kind](group)
  return program


def find_collectives(
  module: Module, computation: Computation, instruction: Instruction
) -> Iterator[tuple[str, int, str]]:
  """Yields (kind, bytes of the larger side, attributes) of collectives.

  An instruction is one itself, or is a fusion of some. An asynchronous one is
  in several fusions, and counts where it starts.
  """
  kind = instruction.opcode.removesuffix("-start")
  if kind in RECEIVED:
    read = [computation[name].size for name in instruction.operands]
    size = max(instruction.size, sum(read))
    if instruction.opcode.endswith("-start"):  # Its value holds its operand.
      size = max(array.size for array in instruction.arrays)
    yield kind, size, instruction.attributes
  name = instruction.find_called("calls")
  if name is None:
    return
  inner = module.computations[name]
  if name.startswith(CONTINUED) or has_target(inner, "AsyncCollectiveDone"):
    return
  for called in inner.values():
    for kind, *found in find_collectives(module, inner, called):
      # An all-reduce of which each chip keeps a part, in one fusion.
      scattered = any(x.opcode == "dynamic-slice" for x in inner.values())
      if kind == "all-reduce" and scattered:
        kind = "reduce-scatter"
      yield kind, *found


def has_target(inner: Computation, target: str) -> bool:
  """Returns whether a fusion calls a function whose name begins so."""
  return any(f'"{target}' in x.attributes for x in inner.values())


def parse_group_size(attributes: str, devices: int) -> int:
  """The number of devices in a group of a collective.

  Groups are written as lists of devices, rows of a matrix or axes of a mesh.
  """
  lists = re.search(r"replica_groups=\{\{([\d,]+)\}", attributes)
  if lists:
    return lists[1].count(",") + 1
  matrix = re.search(r"replica_groups=\[([\d,]+)\]<=", attributes)
  if matrix:
    return int(matrix[1].split(",")[-1])
  mesh = re.search(r"replica_groups=mesh\[([^\]]+)\] \{([^}]*)\}", attributes)
  if mesh:
    sizes = dict(re.findall(r"'([^']+)'=(\d+)", mesh[1]))
    size = 1
    for axis, part in re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", mesh[2]):
      size *= int(part or sizes[axis])
    return size
  return devices


def count_traffic(
  module: Module, computation: Computation, instruction: Instruction
) -> int:
  """Bytes that an instruction reads from main memory and writes there."""
  opcode = instruction.opcode
  kernel = 'custom_call_target="tpu_custom_call"' in instruction.attributes
  if FREE.fullmatch(opcode) or (opcode == "custom-call" and not kernel):
    return 0
  operands = [computation[name] for name in instruction.operands]
  if opcode in ("copy-start", "slice-start"):
    # The value is (operand, copy, context) or ((operand), copy, context).
    source, copy = instruction.arrays[0], instruction.arrays[1]
    size = min(source.size, copy.size)
    return size * (source.in_hbm + copy.in_hbm)
  if opcode in SLICES:
    return count_slice(operands[0], instruction)
  if opcode in UPDATES:
    return count_slice(instruction, operands[UPDATES[opcode]])
  if opcode.endswith("-start"):
    return instruction.hbm_size  # Its value holds its operand.
  if opcode != "fusion":
    return instruction.hbm_size + sum(x.hbm_size for x in operands)
  inner = module.computations[instruction.find_called("calls")]
  if has_target(inner, "AsyncCollective"):
    return 0  # The end of a collective that is counted at its start.
  read = 0
  for parameter in list_parameters(inner):
    size = operands[int(parameter.literal)].hbm_size
    if size:
      read += min(size, count_used(module, inner, parameter))
  return read + count_written(module, inner, instruction)


def count_slice(whole: Instruction, part: Instruction) -> int:
  """Bytes moved to copy a part out of an array or into it."""
  size = part.arrays[0].size
  return size * (whole.arrays[0].in_hbm + part.arrays[0].in_hbm)


def list_parameters(inner: Computation) -> list[Instruction]:
  """The parameters of a fusion; the literal of each is its number."""
  return [x for x in inner.values() if x.opcode == "parameter"]


def count_used(module: Module, inner: Computation, value: Instruction) -> int:
  """Bytes of a value that other instructions of its fusion read."""
  used = 0
  for user in inner.find_users(value.name):
    kind = user.opcode.removesuffix("-start")
    if user.opcode in SLICES and user.operands[0] == value.name:
      used += user.size
    elif user.opcode in UPDATES and user.operands[0] == value.name:
      continue  # Written in place.
    elif kind in RECEIVED:
      continue  # Counted by what it moves between chips.
    elif user.opcode == "tuple" and value.opcode == "parameter":
      continue  # Passed on unread.
    elif user.opcode in SHAPING and not user.is_root:
      used += count_used(module, inner, user)
    elif user.opcode == "fusion":  # One within another.
      nested = module.computations[user.find_called("calls")]
      for parameter in list_parameters(nested):
        if user.operands[int(parameter.literal)] != value.name:
          continue
        if is_shaped(nested, parameter) and not user.is_root:
          used += count_used(module, inner, user)
        else:
          used += count_used(module, nested, parameter)
    else:
      return value.size
  return min(used, value.size)


def is_shaped(nested: Computation, value: Instruction) -> bool:
  """Returns whether a fusion returns a value as it is, up to shape and type."""
  return value.is_root or any(
    user.opcode in SHAPING and is_shaped(nested, user)
    for user in nested.find_users(value.name)
  )


def count_written(
  module: Module, inner: Computation, fusion: Instruction
) -> int:
  """Bytes of main memory that a fusion writes."""
  root = inner.root
  roots = root.operands if root.opcode == "tuple" else (root.name,)
  if len(roots) != len(fusion.arrays):
    return fusion.hbm_size  # Nested tuples are not taken apart.
  return sum(
    min(array.size, count_made(module, inner, name))
    for name, array in zip(roots, fusion.arrays, strict=True)
    if array.in_hbm
  )


def count_made(module: Module, inner: Computation, name: str) -> int:
  """Bytes of a value that its fusion computes."""
  made = inner.follow(name)
  if made.opcode == "parameter" or made.opcode in RECEIVED:
    return 0
  if made.opcode in UPDATES:
    return inner[made.operands[UPDATES[made.opcode]]].size
  index = 0
  if made.opcode == "get-tuple-element":
    index = parse_index(made)
    made = inner.follow(made.operands[0])
  if made.opcode != "fusion":
    return made.size
  nested = module.computations[made.find_called("calls")]
  root = nested.root
  name = root.operands[index] if root.opcode == "tuple" else root.name
  return count_made(module, nested, name)
