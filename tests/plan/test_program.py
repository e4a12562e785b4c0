# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Small programs, compiled by the TPU's own compiler, whose costs are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vit_jax.devices.topology import make_topology
from vit_jax.plan.program import parse_group_size, read_program

pytest.importorskip("libtpu")

MIB = 2**20


@pytest.fixture(scope="module")
def devices():
  return make_topology("v5e:2x2").devices


def compile_for(devices, function, shape, spec, out_spec, dtype=jnp.float32):
  """One step of a chip, of a function over all of them in a row."""
  mesh = Mesh(np.array(devices), ("x",))
  place = NamedSharding(mesh, spec)
  argument = jax.ShapeDtypeStruct(shape, dtype, sharding=place)
  out = NamedSharding(mesh, out_spec)
  compiled = jax.jit(function, out_shardings=out).lower(argument).compile()
  return read_program(compiled.as_text(), len(devices))


ROWS, WHOLE = PartitionSpec("x"), PartitionSpec()


def test_what_is_read_and_written(devices):
  """64 MiB in, 64 MiB out, too much for the memory on the chip."""
  one = compile_for(devices[:1], lambda x: x + 1, (16 * MIB,), WHOLE, WHOLE)
  assert one.traffic == 2 * 64 * MIB
  assert one.cycles > 0 and one.collectives == {} and one.received == 0


def test_a_gather_brings_in_what_others_have(devices):
  found = compile_for(devices, lambda x: x, (4 * MIB, 4), ROWS, WHOLE)
  assert list(found.collectives) == ["all-gather"]
  assert found.collectives["all-gather"].times == 1
  assert found.received == 3 / 4 * 64 * MIB


def test_a_sum_over_chips_goes_round_twice(devices):
  """Each has 1,024 rows of its own; the sum over all is 4 KiB."""

  def add(x):
    return x.sum(axis=0)

  found = compile_for(devices, add, (4096, 1024), ROWS, WHOLE)
  assert found.collectives["all-reduce"].times == 1
  assert found.received == 2 * 3 / 4 * 4096


def test_a_loop_on_a_chip_counts_as_often_as_it_runs(devices):
  def run(length):
    def chain(x):
      body = lambda c, _: (jnp.tanh(c @ c), None)  # noqa: E731
      return jax.lax.scan(body, x, length=length)[0]

    return compile_for(devices[:1], chain, (2048, 2048), WHOLE, WHOLE)

  few, many = run(8), run(64)
  assert 7 < many.cycles / few.cycles < 9


def test_a_product_reads_both_sides(devices):
  """Two matrices of 128 MiB in, one out, and the two are a copy at most."""

  def multiply(pair):
    return pair[0] @ pair[1]

  shape = (2, 8192, 8192)
  found = compile_for(devices[:1], multiply, shape, WHOLE, WHOLE, jnp.bfloat16)
  assert 3 * 128 * MIB <= found.traffic <= 7 * 128 * MIB


def test_rows_that_are_picked_are_read_and_no_others(devices):
  """Eight of 65,536 rows of 4 KiB."""
  rows = jnp.arange(8) * 1000
  found = compile_for(
    devices[:1], lambda x: x[rows], (65536, 1024), WHOLE, WHOLE
  )
  assert found.traffic < MIB


def test_what_is_sent_is_not_read_twice(devices):
  """64 MiB from each chip to the next: it is read, and written there."""
  mesh = Mesh(np.array(devices), ("x",))
  turn = [(i, (i + 1) % 4) for i in range(4)]
  send = jax.shard_map(
    lambda x: jax.lax.ppermute(x, "x", turn),
    mesh=mesh,
    in_specs=ROWS,
    out_specs=ROWS,
  )
  found = compile_for(devices, send, (4 * 16, MIB), ROWS, ROWS)
  assert found.received == 64 * MIB
  assert found.traffic <= 2 * 64 * MIB


def test_a_loop_reads_its_own_part_of_what_is_stacked(devices):
  """Sixteen matrices of 16 MiB: 256 in all, and no more for being stacked.

  The compiler makes them bfloat16 first: 256 MiB are read, 128 are written,
  and a sixteenth of these is read by each turn of the loop.
  """

  def run(w):
    x = jnp.ones((8, 2048))
    body = lambda c, w: (jnp.tanh(c @ w), None)  # noqa: E731
    return jax.lax.scan(body, x, w)[0].sum()

  found = compile_for(devices[:1], run, (16, 2048, 2048), WHOLE, WHOLE)
  assert 512 * MIB <= found.traffic < 513 * MIB


@pytest.mark.parametrize(
  ("groups", "expected"),
  [
    ("replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}", 4),
    ("replica_groups=[4,2]<=[2,4]T(1,0), x", 2),
    ("replica_groups=mesh['axis_0'=16] {'axis_0'}, x", 16),
    ("replica_groups=mesh['a'=4,'b'=2] {'b'}, x", 2),
    ("replica_groups=mesh['a'=4,'b'=2] {'a','b'}, x", 8),
    ("replica_groups=mesh['a'=8] {'a':(2)4}, x", 4),
    ("replica_groups={}, x", 8),
  ],
)
def test_groups(groups, expected):
  assert parse_group_size(groups, 8) == expected


# As the compiler writes them: a gather that starts, goes on beside a product
# and ends, twice; and two sums of which each chip keeps a part. Both pairs
# share a channel.
SHARED_CHANNELS = """
HloModule jit_step

%start.1 (p: bf16[16,8]) -> (bf16[16,8], bf16[64,8]) {
  %p = bf16[16,8]{1,0} parameter(0)
  %g = bf16[64,8]{1,0} all-gather(%p), channel_id=3, replica_groups={{0,1,2,3}}
  ROOT %c = (bf16[16,8]{1,0}, bf16[64,8]{1,0}) custom-call(%g), custom_call_target="AsyncCollectiveStart"
}
%async_collective_fusion.2 (p: bf16[16,8]) -> bf16[64,8] {
  %p = bf16[16,8]{1,0} parameter(0)
  ROOT %g = bf16[64,8]{1,0} all-gather(%p), channel_id=3, replica_groups={{0,1,2,3}}
}
%done.3 (p: bf16[16,8]) -> bf16[64,8] {
  %p = bf16[16,8]{1,0} parameter(0)
  %g = bf16[64,8]{1,0} all-gather(%p), channel_id=3, replica_groups={{0,1,2,3}}
  ROOT %c = bf16[64,8]{1,0} custom-call(%g), custom_call_target="AsyncCollectiveDone"
}
%scatter.4 (p: bf16[64,8]) -> bf16[16,8] {
  %p = bf16[64,8]{1,0} parameter(0)
  %r = bf16[64,8]{1,0} all-reduce(%p), channel_id=1, replica_groups={{0,1,2,3}}
  %i = u32[] partition-id()
  ROOT %d = bf16[16,8]{1,0} dynamic-slice(%r, %i, %i), dynamic_slice_sizes={16,8}
}
ENTRY %main (x: bf16[16,8]) -> bf16[16,8] {
  %x = bf16[16,8]{1,0} parameter(0)
  %a = (bf16[16,8]{1,0}, bf16[64,8]{1,0}) fusion(%x), kind=kCustom, calls=%start.1
  %b = bf16[64,8]{1,0} fusion(%x), kind=kCustom, calls=%async_collective_fusion.2
  %c = bf16[64,8]{1,0} fusion(%x), kind=kCustom, calls=%done.3
  %d = (bf16[16,8]{1,0}, bf16[64,8]{1,0}) fusion(%x), kind=kCustom, calls=%start.1
  %e = bf16[64,8]{1,0} fusion(%x), kind=kCustom, calls=%done.3
  %f = bf16[16,8]{1,0} fusion(%c), kind=kCustom, calls=%scatter.4
  ROOT %g = bf16[16,8]{1,0} fusion(%e), kind=kCustom, calls=%scatter.4
}
"""  # noqa: E501


def test_each_collective_counts_once():
  found = read_program(SHARED_CHANNELS, 4).collectives
  assert {kind: x.times for kind, x in found.items()} == {
    "all-gather": 2,
    "reduce-scatter": 2,
  }
  # Three quarters of 64 x 8 numbers of two bytes, twice.
  assert [x.received for x in found.values()] == [1536, 1536]
