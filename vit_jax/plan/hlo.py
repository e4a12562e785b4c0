# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Parser of compiled programs (HLO): computations of instructions."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

# Bits of the data types whose names do not say them.
BITS = {"pred": 8, "token": 0, "opaque": 0}
ARRAY = re.compile(r"([a-z]+\d*\w*)\[([\d,]*)\](?:\{([^{}]*)\})?")
HEADER = re.compile(r"(ENTRY )?%?([^\s(]+) \(.*\) -> .*\{$")
NAMED = re.compile(r"\s+(ROOT )?%?([^\s=]+) = ")
OPERAND = re.compile(r"%([^\s,()]+)")
# Opcodes that copy a number without changing it.
COPIES = ("copy", "bitcast", "convert", "copy-start", "copy-done")


class Array(NamedTuple):
  """One array of a value.

  Attributes:
    size: bytes, without the padding of tiles.
    in_hbm: whether it lies in main memory (HBM).
  """

  size: int
  in_hbm: bool


class Instruction(NamedTuple):
  """An instruction, which is a line of a computation.

  Attributes:
    name: its name, without %.
    arrays: arrays of its value; a tuple's in order.
    opcode: as "fusion".
    operands: names of the instructions that it reads.
    attributes: text of the line after its operands.
    is_root: whether its value is that of the computation.
    literal: text between the parentheses.
  """

  name: str
  arrays: tuple[Array, ...]
  opcode: str
  operands: tuple[str, ...]
  attributes: str
  is_root: bool
  literal: str

  @property
  def size(self) -> int:
    """Bytes of the value."""
    return sum(array.size for array in self.arrays)

  @property
  def hbm_size(self) -> int:
    """Bytes of the value that lie in main memory."""
    return sum(array.size for array in self.arrays if array.in_hbm)

  def find_called(self, key: str) -> str | None:
    """The name of the computation in an attribute, as `calls` or `body`."""
    found = re.search(rf"\b{key}=%([^\s,}}]+)", self.attributes)
    return found[1] if found else None


class Computation(dict):
  """A computation: name -> instruction, in order."""

  @property
  def root(self) -> Instruction:
    """The instruction whose value is the computation's."""
    return next(x for x in self.values() if x.is_root)

  def find_users(self, name: str) -> list[Instruction]:
    """The instructions that read a value."""
    return [x for x in self.values() if name in x.operands]

  def follow(self, name: str) -> Instruction:
    """The instruction that a value comes from, through copies."""
    found = self[name]
    while found.opcode in COPIES and found.operands:
      found = self[found.operands[0]]
    return found

  def find_constant(self, name: str) -> int | None:
    """The value of an integer constant, through copies, or None."""
    found = self.follow(name)
    is_number = re.fullmatch(r"-?\d+", found.literal)
    return int(found.literal) if is_number else None


class Module(NamedTuple):
  """A compiled program.

  Attributes:
    computations: name -> computation.
    entry: name of the computation at which the program starts.
  """

  computations: dict[str, Computation]
  entry: str


def parse_arrays(text: str) -> tuple[Array, ...]:
  """Parses the arrays of a shape, as bf16[32,768]{1,0:T(8,128)}.

  S(1) and the like in a layout are small memories on the chip, or the host's.
  """
  found = []
  for dtype, dims, layout in ARRAY.findall(text):
    digits = re.search(r"\d+", dtype)
    bits = BITS[dtype] if dtype in BITS else int(digits[0]) if digits else 0
    count = math.prod(int(d) for d in dims.split(",") if d)
    in_hbm = re.search(r"S\([1-9]\d*\)", layout) is None
    found.append(Array(math.ceil(count * bits / 8), in_hbm))
  return tuple(found)


def find_end(text: str, start: int) -> int:
  """The index at which the parenthesis that opens at `start` closes."""
  depth = 0
  for index in range(start, len(text)):
    depth += (text[index] == "(") - (text[index] == ")")
    if depth == 0:
      return index
  raise ValueError(f"HLO with an unclosed parenthesis: {text[:200]}")


def parse_instruction(line: str) -> Instruction | None:
  """Parses a line; None if it holds no instruction."""
  named = NAMED.match(line)
  if named is None:
    return None
  begin = named.end()
  # The shape of a tuple stands in parentheses, that of an array has no space.
  if line[begin] == "(":
    end = find_end(line, begin) + 1
  else:
    end = line.index(" ", begin)
  opening = line.index("(", end)
  closing = find_end(line, opening)
  literal = line[opening + 1 : closing]
  return Instruction(
    name=named[2],
    arrays=parse_arrays(line[begin:end]),
    opcode=line[end:opening].strip(),
    operands=tuple(OPERAND.findall(literal)),
    attributes=line[closing + 1 :],
    is_root=bool(named[1]),
    literal=literal,
  )


def parse_module(text: str) -> Module:
  """Parses a program, the text of `compiled.as_text()`."""
  computations, entry, current = {}, "", None
  for line in text.splitlines():
    header = HEADER.match(line)
    if header:
      current = computations.setdefault(header[2], Computation())
      entry = header[2] if header[1] else entry
    elif current is not None:
      instruction = parse_instruction(line)
      if instruction is not None:
        current[instruction.name] = instruction
  return Module(computations, entry)


def count_trips(
  module: Module, caller: Computation, loop: Instruction
) -> int | None:
  """The number of iterations of a while loop; None if it is not known.

  It is known of loops whose counter starts at a constant, grows by a constant
  and is compared with a constant, as that of a scan.
  """
  condition = module.computations[loop.find_called("condition")]
  body = module.computations[loop.find_called("body")]
  compare = condition.root
  if compare.opcode != "compare" or "direction=LT" not in compare.attributes:
    return None
  counter, limit = (condition.follow(name) for name in compare.operands)
  index = parse_index(counter)
  stop = condition.find_constant(limit.name)
  start = follow_element(caller, loop.operands[0], index)
  grown = follow_element(body, body.root.name, index)
  if index is None or stop is None or start is None or grown is None:
    return None
  first = caller.find_constant(start.name)
  steps = [body.find_constant(name) for name in grown.operands]
  step = next((x for x in steps if x is not None), None)
  if grown.opcode != "add" or first is None or not step:
    return None
  return max(0, math.ceil((stop - first) / step))


def parse_index(element: Instruction) -> int | None:
  """The index of a get-tuple-element."""
  found = re.search(r"\bindex=(\d+)", element.attributes)
  return int(found[1]) if found else None


def follow_element(
  computation: Computation, name: str, index: int | None
) -> Instruction | None:
  """The instruction that gives an element of a tuple made here, or None."""
  made = computation.follow(name)
  if index is None or made.opcode != "tuple":
    return None
  return computation.follow(made.operands[index])


def walk(
  module: Module, name: str | None = None, times: int = 1
) -> Iterator[tuple[Computation, Instruction, int]]:
  """Yields (computation, instruction, number of runs) of a whole program.

  The body of a loop of unknown length, as of rejection sampling, counts once.
  Branches of a conditional are left out.
  """
  computation = module.computations[name or module.entry]
  for instruction in computation.values():
    yield computation, instruction, times
    if instruction.opcode == "while":
      trips = count_trips(module, computation, instruction)
      inner = times * (1 if trips is None else trips)
      yield from walk(module, instruction.find_called("body"), inner)
    elif instruction.opcode == "call":
      yield from walk(module, instruction.find_called("to_apply"), times)
