# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which mesh, remat policy and micro-batches are fastest, of those that fit.

Every candidate is ranked by arithmetic alone; the best are compiled, each in a
process of its own, until the budget is spent.
"""

import collections
import dataclasses
import functools
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vit_jax.chips import GIB
from vit_jax.config import ConfigError
from vit_jax.experiment import Experiment
from vit_jax.flops import count_flops
from vit_jax.plan.topology import Topology
from vit_jax.sharding import count_bytes

TENSOR = (1, 2, 4, 8)
ACCUMULATE = (1, 2, 4, 8, 16)
REMAT = ("none", "dots", "full")
FEW = 12  # Candidates that are compiled at most.
# What the arithmetic may be wrong by before a candidate is not even tried.
MARGIN = 1.25


class Candidate(NamedTuple):
  """A way to run a config; attributes are keys of it."""

  batch_size: int
  accumulate: int
  replica: int
  fsdp: int
  tensor: int
  remat: str | None

  def get_overrides(self) -> list[str]:
    """The same as flags."""
    keys = {
      "train.batch_size": self.batch_size,
      "train.accumulate": self.accumulate,
      "mesh.replica": self.replica,
      "mesh.fsdp": self.fsdp,
      "mesh.tensor": self.tensor,
      "model.remat": self.remat,
    }
    return [f"--config.{k}={x}" for k, x in keys.items() if x is not None]


class Image(NamedTuple):
  """What an image costs under a remat policy.

  Attributes:
    activations: bytes that the backward pass needs of the forward pass.
    flops: of both, recomputation among them.
  """

  activations: float
  flops: float


class Guess(NamedTuple):
  """What arithmetic says of a candidate, a chip.

  Attributes:
    memory: bytes.
    seconds: of a step.
  """

  memory: float
  seconds: float


@dataclasses.dataclass
class Sweep:
  """What was tried, in the order of its rank.

  Attributes:
    ranked: how many candidates there are.
    tried: of each: overrides, outcome, and the plan where it was compiled.
  """

  ranked: int
  tried: list[dict[str, Any]]

  @property
  def best(self) -> dict[str, Any] | None:
    """The most images per second of what fits."""
    fitting = [x for x in self.tried if x["outcome"] == FITS]
    return max(
      fitting,
      key=lambda x: x["plan"]["at_most"]["images_per_second"],
      default=None,
    )

  def to_json(self) -> dict[str, Any]:
    """For programs."""
    return dataclasses.asdict(self) | {"best": self.best}

  def __str__(self) -> str:
    said = f"{len(self.tried)} of {self.ranked} candidates tried"
    if self.best is not None:
      return (
        f"{said}; the fastest that fits:\n{' '.join(self.best['overrides'])}"
      )
    outcomes = {x["outcome"] for x in self.tried}
    if outcomes <= {LATE}:
      return f"{said}, none of them to its end: take a larger --budget"
    return (
      f"{said}, and none of them fits: take a larger topology, or a smaller "
      f"batch with --batch_sizes=B"
    )


# What became of a candidate, beside the compiler's own failures.
FITS, NO_ROOM = "fits", "out of memory"
LATE = "not compiled within the budget"
HEADER = (
  f"{'batch':>7}{'micro':>7}{'replica':>9}{'fsdp':>6}{'tensor':>8}"
  f"{'remat':>7}{'GiB':>8}{'step at least':>15}{'images/s at most':>18}"
)


def format_row(tried: Mapping[str, Any]) -> str:
  """A candidate that was tried, as a line of the table."""
  x = Candidate(**tried["candidate"])
  line = (
    f"{x.batch_size:>7,}{x.accumulate:>7}{x.replica:>9}{x.fsdp:>6}"
    f"{x.tensor:>8}{x.remat or '-':>7}"
  )
  plan = tried.get("plan")
  if tried["outcome"] != FITS:
    return f"{line}{'':8}  {tried['outcome']}"
  return (
    f"{line}{plan['memory']['total'] / GIB:>8.2f}"
    f"{plan['at_least']['step_seconds'] * 1e3:>12,.1f} ms"
    f"{plan['at_most']['images_per_second']:>18,.0f}"
  )


def sweep(
  config: Mapping[str, Any],
  topology: Topology,
  flags: Sequence[str],
  say: Callable[[str], None],
  *,
  budget: float,
  batch_sizes: str | None = None,
  few: int = FEW,
) -> Sweep:
  """Looks for the fastest way to run a config that fits.

  Args:
    config: sections of keys.
    topology: the TPUs.
    flags: that made the config.
    say: told of every candidate as soon as it is compiled.
    budget: seconds to compile in.
    batch_sizes: as "2048,4096"; None is the config's own.
    few: how many to compile at most.

  Raises:
    ConfigError: for batch sizes that are none, or if no mesh divides them.
  """
  # Any mesh does, for what is read of it does not depend on it.
  whole = {"replica": topology.slices, "fsdp": -1, "tensor": 1}
  exp = Experiment({**config, "mesh": whole}, topology.devices)
  sizes = parse_sizes(batch_sizes) or [exp.train.batch_size]
  candidates = list(make_candidates(exp, topology, sizes))
  if not candidates:
    raise ConfigError(
      f"no mesh of {len(topology.devices)} chips divides a batch of "
      f"{', '.join(map(str, sizes))}: try others with --batch_sizes=B,B"
    )
  images = {
    remat: measure_image(exp, remat) for remat in {x.remat for x in candidates}
  }
  guesses = {x: guess(exp, topology, x, images[x.remat]) for x in candidates}
  found = Sweep(len(candidates), [])
  end = time.monotonic() + budget
  place = [f"--topology={topology.name}", f"--slices={topology.slices}"]
  say(HEADER)
  for candidate in rank(guesses):
    left = end - time.monotonic()
    if left <= 0 or len(found.tried) == few:
      break
    if not is_worthwhile(candidate, guesses, found.tried, topology):
      continue
    overrides = candidate.get_overrides()
    try:
      tried = compile_apart([*flags, *place, *overrides], left)
    except KeyboardInterrupt:
      break  # What was found so far is said.
    tried |= {"candidate": candidate._asdict(), "overrides": overrides}
    found.tried.append(tried)
    say(format_row(tried))
  return found


def rank(guesses: Mapping[Candidate, Guess]) -> list[Candidate]:
  """Candidates, the fastest first, by arithmetic.

  The best mesh of each batch, micro-batch and remat policy comes before the
  second best of any: what arithmetic says of meshes is often the same.
  """
  groups = collections.defaultdict(list)
  for x in sorted(guesses, key=lambda x: (guesses[x].seconds, x.fsdp, x)):
    groups[x.batch_size, x.accumulate, x.remat].append(x)
  places = {x: i for group in groups.values() for i, x in enumerate(group)}
  speed = {x: x.batch_size / guesses[x].seconds for x in places}
  return sorted(places, key=lambda x: (places[x], -speed[x], x.accumulate))


def is_worthwhile(
  candidate: Candidate,
  guesses: Mapping[Candidate, Guess],
  tried: Sequence[Mapping[str, Any]],
  topology: Topology,
) -> bool:
  """Whether a candidate may fit, and be faster than what does.

  What was compiled under the same policy says how wrong the arithmetic is of
  memory; and where a batch fits, splitting it further gains nothing.
  """
  wrong = []
  for result in tried:
    other = Candidate(**result["candidate"])
    if other.remat != candidate.remat or "plan" not in result:
      continue
    same_batch = other.batch_size == candidate.batch_size
    fewer = other.accumulate < candidate.accumulate
    if same_batch and fewer and result["outcome"] == FITS:
      return False
    total = result["plan"]["memory"]["total"]
    if total is not None:
      wrong.append(total / guesses[other].memory)
  needed = guesses[candidate].memory * max(wrong, default=1 / MARGIN)
  return needed <= topology.generation.memory


def parse_sizes(text: str | None) -> list[int]:
  """Batch sizes from a flag.

  Raises:
    ConfigError: if there is another thing among them.
  """
  sizes = [part.strip() for part in text.split(",")] if text else []
  if not all(size.isdecimal() and int(size) for size in sizes):
    raise ConfigError(
      f"--batch_sizes={text} are no batch sizes, as --batch_sizes=2048,4096"
    )
  return [int(size) for size in sizes]


def make_candidates(exp: Experiment, topology: Topology, sizes: Sequence[int]):
  """Every way to run a config that its sizes divide."""
  chips, slices = len(topology.devices), topology.slices
  heads = getattr(exp.model, "num_heads", None)
  own = exp.config["model"].get("remat")
  # Offloading is for who asks for it: the way to the host has no figure here.
  policies = (None,) if own is None else dict.fromkeys((*REMAT, own))
  for batch, tensor, fsdp in itertools.product(
    sizes, TENSOR, range(1, chips + 1)
  ):
    replica, rest = divmod(chips, tensor * fsdp)
    in_slice = rest == 0 and replica % slices == 0 and replica > 0
    if not in_slice or (tensor > 1 and (heads is None or heads % tensor)):
      continue
    for accumulate, remat in itertools.product(ACCUMULATE, policies):
      if batch % (replica * fsdp * accumulate) == 0:
        yield Candidate(batch, accumulate, replica, fsdp, tensor, remat)


def measure_image(exp: Experiment, remat: str | None) -> Image:
  """What an image costs under a remat policy, from shapes alone."""
  model = exp.model if remat is None else exp.model.clone(remat=remat)
  keys = {"dropout": jax.random.key(0)}
  forward = functools.partial(model.apply, train=True, rngs=keys)
  params = {"params": exp.abstract_state.params}
  # Kernels hide their products.
  plain = model.clone(attention="xla") if hasattr(model, "attention") else model
  whole = functools.partial(plain.apply, train=True, rngs=keys)

  def run(params, image):
    return jax.vjp(forward, params, image)[1]

  def train(params, image):
    logits, back = jax.vjp(whole, params, image)
    return back(jnp.ones_like(logits))

  def count(batch):
    image = jax.ShapeDtypeStruct((batch, *exp.image_shape), jnp.float32)
    kept = jax.tree.leaves(jax.eval_shape(run, params, image))
    return sum(x.size * x.dtype.itemsize for x in kept)

  image = jax.ShapeDtypeStruct((1, *exp.image_shape), jnp.float32)
  # Parameters are kept once, whatever the batch.
  return Image(count(2) - count(1), count_flops(train, params, image))


def guess(
  exp: Experiment, topology: Topology, candidate: Candidate, image: Image
) -> Guess:
  """What arithmetic says of a candidate.

  A step takes the products at the chip's peak, then the optimizer's way through
  the state, then what chips tell each other: FSDP gathers bfloat16 weights for
  either pass of every micro-batch and scatters float32 gradients, replicas add
  gradients up, and tensor parallelism adds up activations twice a block and
  pass.
  """
  _, accumulate, replica, fsdp, tensor, _ = candidate
  generation, chips = topology.generation, len(topology.devices)
  state = jax.tree.leaves(exp.abstract_state)
  sizes = [x.size * x.dtype.itemsize for x in state]
  params = sum(x.size for x in jax.tree.leaves(exp.abstract_state.params))
  parts = fsdp * tensor
  images = candidate.batch_size / (replica * fsdp) / accumulate
  # The residual stream is whole on every chip, the rest of a block is split.
  memory = (
    sum(sizes) / parts
    + count_bytes(exp.abstract_constants)
    + 4 * params / parts
    + image.activations * images * (1 + 1 / tensor) / 2
  )
  gathered = 2 * 2 * accumulate + 4
  links = gathered * params / tensor * (fsdp - 1) / fsdp
  added = 2 * 4 * params / parts * (replica - 1) / replica
  if tensor > 1:
    tokens = exp.model.get_layout(*exp.data.shape).tokens
    stream = images * accumulate * exp.model.width * tokens * 2
    ring = 2 * (tensor - 1) / tensor
    links += 4 * exp.model.depth * stream * ring
  # Between slices only sums of gradients travel.
  network = added if topology.slices > 1 else 0
  links += added if topology.slices == 1 else 0
  flops = image.flops * candidate.batch_size / chips
  return Guess(
    memory,
    flops / topology.peak_flops
    + 2 * sum(sizes) / parts / generation.bandwidth
    + links / generation.links
    + network / generation.network,
  )


def compile_apart(arguments: Sequence[str], seconds: float) -> dict[str, Any]:
  """Plans one candidate in a process of its own, which may fail or be slow.

  Args:
    arguments: of `python -m vit_jax.plan`.
    seconds: after which it is ended.

  Returns:
    outcome: "fits" or what else happened; plan: as JSON, if there is one.
  """
  command = [sys.executable, "-m", "vit_jax.plan", *arguments, "--json"]
  try:
    done = subprocess.run(
      command, capture_output=True, text=True, timeout=seconds
    )
  except subprocess.TimeoutExpired:
    return {"outcome": LATE}
  if done.returncode:
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return {"outcome": f"failed: {last[:200]}"}
  plan = json.loads(done.stdout.splitlines()[-1])
  return {"outcome": FITS if plan["fits"] else NO_ROOM, "plan": plan}
