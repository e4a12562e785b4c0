# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Search for the fastest mesh, remat policy and micro-batches that fit.

Candidates are ranked by arithmetic; the best are compiled, each in a process of
its own, until the budget is spent.
"""

import collections
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vit_jax.config import ConfigError
from vit_jax.devices.fitting import find_filling
from vit_jax.devices.specs import GIB
from vit_jax.devices.topology import Topology
from vit_jax.experiment import Experiment
from vit_jax.metrics.progress import Progress, format_duration
from vit_jax.models import activations
from vit_jax.models.flops import count_flops
from vit_jax.plan.apart import FITS, LATE, compile_apart
from vit_jax.plan.estimate import check_size
from vit_jax.sections import resolve
from vit_jax.sharding import count_bytes

TENSOR = (1, 2, 4, 8)
ACCUMULATE = (1, 2, 4, 8, 16)
REMAT = ("none", "dots", "full")
FEW = 12  # Largest number of candidates that are compiled.
# Assumed error of the estimated memory: a candidate that is estimated to need
# more than this times a chip's memory is not compiled.
MARGIN = 1.25
# Loss of a split that no run chooses: B/16 whole and halved (docs/performance).
BADLY_SPLIT = 414 / 322


class Candidate(NamedTuple):
  """A way to run a config; attributes are its keys."""

  batch_size: int
  accumulate: int
  replica: int
  fsdp: int
  tensor: int
  remat: str | None

  def make_overrides(self) -> list[str]:
    """The flags that set the candidate's keys."""
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
  """The cost of an image under a remat policy.

  Attributes:
    activations: bytes that the forward pass keeps for the backward pass.
    flops: FLOPs of both passes, with recomputation.
  """

  activations: float
  flops: float


class Guess(NamedTuple):
  """The arithmetic's estimate of a candidate.

  Attributes:
    memory: bytes needed on a chip.
    seconds: time of a step.
  """

  memory: float
  seconds: float


@dataclasses.dataclass
class Sweep:
  """The result of a sweep.

  Attributes:
    ranked: number of candidates.
    tried: those that were compiled, in the order of their rank: `candidate`,
      `overrides`, `outcome`, and `plan` if the compiler gave one.
    too_large: number of those that cannot fit, by arithmetic.
  """

  ranked: int
  tried: list[dict[str, Any]]
  too_large: int = 0

  @property
  def best(self) -> dict[str, Any] | None:
    """The candidate with the most images per second of those that fit."""
    fitting = [x for x in self.tried if x["outcome"] == FITS]
    return max(
      fitting,
      key=lambda x: x["plan"]["at_most"]["images_per_second"],
      default=None,
    )

  def to_json(self) -> dict[str, Any]:
    """The result as JSON."""
    return dataclasses.asdict(self) | {"best": self.best}

  def __str__(self) -> str:
    text = f"{len(self.tried)} of {self.ranked} candidates tried"
    if self.best is not None:
      return (
        f"{text}; the fastest that fits:\n{' '.join(self.best['overrides'])}"
      )
    outcomes = {x["outcome"] for x in self.tried}
    if outcomes <= {LATE} and self.too_large < self.ranked:
      return f"{text}, and none was compiled in time: set a larger --budget"
    return (
      f"{text}, and none fits: set a larger --topology, or a smaller batch "
      f"with --batch_sizes=B"
    )


HEADER = (
  f"{'batch':>7}{'micro':>7}{'replica':>9}{'fsdp':>6}{'tensor':>8}"
  f"{'remat':>7}{'GiB':>8}{'step at least':>15}{'images/s at most':>18}"
)


def format_row(tried: Mapping[str, Any]) -> str:
  """Formats a candidate that was tried as a line of the table."""
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
  """Searches for the fastest way to run a config that fits.

  Args:
    config: sections of keys.
    topology: the TPUs.
    flags: flags of `python -m vit_jax.plan` that give the config.
    say: called with a line for every candidate, once it is compiled.
    budget: seconds in which candidates are compiled.
    batch_sizes: as "2048,4096"; None is the config's own.
    few: largest number of candidates that are compiled.

  Raises:
    ConfigError: for malformed batch sizes, or if no mesh divides them.
  """
  # Nothing that is read of this experiment depends on its mesh.
  whole = {"replica": topology.slices, "fsdp": -1, "tensor": 1}
  exp = Experiment(resolve({**config, "mesh": whole}), topology.devices)
  check_size(exp, topology)
  sizes = parse_sizes(batch_sizes) or [exp.train.batch_size]
  candidates = list(make_candidates(exp, topology, sizes))
  if not candidates:
    raise ConfigError(
      f"no mesh of {len(topology.devices)} chips divides a batch of "
      f"{', '.join(map(str, sizes))}: set others with --batch_sizes=B,B"
    )
  images = {
    remat: measure_image(exp, remat) for remat in {x.remat for x in candidates}
  }
  guesses = {x: guess(exp, topology, x, images[x.remat]) for x in candidates}
  found, progress = Sweep(len(candidates), []), Progress()
  end = time.monotonic() + budget
  place = [f"--topology={topology.name}", f"--slices={topology.slices}"]
  say(HEADER)
  for candidate in rank(guesses):
    left = end - time.monotonic()
    if left <= 0 or len(found.tried) == few:
      break
    if not is_worthwhile(candidate, guesses, found.tried, topology):
      found.too_large += not found.tried  # By arithmetic alone.
      continue
    overrides = candidate.make_overrides()
    names = ", ".join(x.removeprefix("--config.") for x in overrides)
    progress.rewrite(
      f"compiling candidate {len(found.tried) + 1} of at most "
      f"{min(few, len(candidates))}, {format_duration(left)} of the budget "
      f"left: {names}"
    )
    try:
      tried = compile_apart([*flags, *place, *overrides], left)
    except KeyboardInterrupt:
      break  # The result so far is printed.
    finally:
      progress.clear()
    tried |= {"candidate": candidate._asdict(), "overrides": overrides}
    found.tried.append(tried)
    say(format_row(tried))
  return found


def rank(guesses: Mapping[Candidate, Guess]) -> list[Candidate]:
  """Sorts candidates by estimated speed, the fastest first.

  The best mesh of each batch size, accumulation and remat policy comes before
  the second best of any, because the estimates of meshes are often equal.
  """
  groups = collections.defaultdict(list)
  for x in sorted(guesses, key=lambda x: (guesses[x].seconds, x.fsdp, x)):
    groups[x.batch_size, x.accumulate, x.remat].append(x)
  order = {x: i for group in groups.values() for i, x in enumerate(group)}
  speed = {x: x.batch_size / guesses[x].seconds for x in order}
  return sorted(order, key=lambda x: (order[x], -speed[x], x.accumulate))


def is_worthwhile(
  candidate: Candidate,
  guesses: Mapping[Candidate, Guess],
  tried: Sequence[Mapping[str, Any]],
  topology: Topology,
) -> bool:
  """Returns whether a candidate may fit, and be faster than those that do.

  The candidates compiled under the same remat policy show the arithmetic's
  error of memory. More micro-batches of a batch that fits gain only by size.
  """
  wrong = []
  for result in tried:
    other = Candidate(**result["candidate"])
    if other.remat != candidate.remat or "plan" not in result:
      continue
    same_batch = other.batch_size == candidate.batch_size
    fewer = other.accumulate < candidate.accumulate
    slower = guesses[candidate].seconds >= guesses[other].seconds
    if same_batch and fewer and slower and result["outcome"] == FITS:
      return False
    total = result["plan"]["memory"]["total"]
    if total is not None:
      wrong.append(total / guesses[other].memory)
  needed = guesses[candidate].memory * max(wrong, default=1 / MARGIN)
  return needed <= topology.generation.memory


def parse_sizes(text: str | None) -> list[int]:
  """Parses the batch sizes of a flag.

  Raises:
    ConfigError: unless all are positive integers.
  """
  sizes = [part.strip() for part in text.split(",")] if text else []
  if not all(size.isdecimal() and int(size) for size in sizes):
    raise ConfigError(
      f"--batch_sizes={text} must be positive integers, as "
      f"--batch_sizes=2048,4096"
    )
  return [int(size) for size in sizes]


def make_candidates(exp: Experiment, topology: Topology, sizes: Sequence[int]):
  """Yields all candidates whose mesh divides the batch and the heads."""
  chips, slices = len(topology.devices), topology.slices
  heads = getattr(exp.model, "num_heads", None)
  own = exp.fit.remat
  # "offload" is only tried if the config has it: its cost is not modelled.
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
  """The cost of an image under a remat policy, computed from shapes."""
  objective = exp.objective
  if remat is not None:
    objective = objective.clone(remat=remat)
  plain = objective
  if hasattr(exp.model, "attention"):  # Kernels hide their products.
    plain = objective.clone(attention="xla")

  def forward(own, params, image):
    return own.forward(params, image, jax.random.key(0))

  def train(params, aux, image, *frozen):
    found, back = jax.vjp(functools.partial(forward, plain), params, image)
    plain.observe(aux, image, *frozen)
    return back(jax.tree.map(jnp.ones_like, found))

  state = exp.abstract_state
  image = jax.ShapeDtypeStruct((1, *exp.image_shape), jnp.float32)
  return Image(
    activations.count_activation_bytes(
      functools.partial(forward, objective),
      state.params,
      exp.image_shape,
      activations.choose_kept(exp.model, "tpu"),
    ),
    count_flops(train, state.params, state.aux, image, *exp.abstract_frozen),
  )


def guess(
  exp: Experiment, topology: Topology, candidate: Candidate, image: Image
) -> Guess:
  """Estimates the memory and the time of a candidate.

  The time is that of the matrix products at the chip's peak, by the size of
  micro-batches (`devices.fitting`), of the optimizer's pass over the state, and
  of communication: FSDP gathers bfloat16 weights for both passes of every
  micro-batch and scatters float32 gradients, replicas sum gradients, and tensor
  parallelism sums activations twice per block and pass.
  """
  _, accumulate, replica, fsdp, tensor, _ = candidate
  generation, chips = topology.generation, len(topology.devices)
  state = jax.tree.leaves(exp.abstract_state)
  sizes = [x.size * x.dtype.itemsize for x in state]
  params = sum(x.size for x in jax.tree.leaves(exp.abstract_state.params))
  parts = fsdp * tensor
  own = candidate.batch_size // (replica * fsdp)
  images = own / accumulate
  # The residual stream is whole on every chip, the rest of a block is split.
  memory = (
    sum(sizes) / parts
    + count_bytes(exp.abstract_frozen)
    + 4 * params / parts
    + image.activations * images * (1 + 1 / tensor) / 2
  )
  gathered = 2 * 2 * accumulate + 4
  links = gathered * params / tensor * (fsdp - 1) / fsdp
  added = 2 * 4 * params / parts * (replica - 1) / replica
  tokens, stream = activations.measure_stream(exp.model, exp.data.shape)
  if tensor > 1:
    ring = 2 * (tensor - 1) / tensor
    links += 4 * exp.model.depth * images * accumulate * stream * ring
  # Between slices only sums of gradients travel.
  network, added = (added, 0) if topology.slices > 1 else (0, added)
  links += added
  flops = image.flops * candidate.batch_size / chips
  splits = [n for n in ACCUMULATE if own % n == 0]
  if accumulate not in find_filling(splits, "tpu", own * tokens, own * stream):
    flops *= BADLY_SPLIT
  return Guess(
    memory,
    flops / topology.peak_flops
    + 2 * sum(sizes) / parts / generation.bandwidth
    + links / generation.links
    + network / generation.network,
  )
