"""Batches cut into shards, numbers to add up, and their sums as a tree."""

from contextlib import contextmanager

import torch

from bonafide.engine.shards.grad_overlap import GradOverlap
from bonafide.engine.shards.grad_writer import GradWriter
from bonafide.engine.shards.matmul_policy import MatmulPolicy
from bonafide.engine.shards.module_patching import install_grad_ops
from bonafide.engine.shards.shard_context import ShardContext
from tests.tiny_engines import random_tokens

LENGTHS, OFFSETS = [1, 2, 2, 3, 5, 6], [0, 2, 3, 3, 6]  # four shards of 3, 2, 0 and 14 rows


def tokens():
    """At least one last batch with fewer texts than shards: 8 + 8 + 3."""
    return random_tokens(19)


def parts_of(n):
    torch.manual_seed(n)
    return [torch.randn(1000) * 10.0**i for i in range(n)]


def golden(p):
    return {
        1: lambda: p[0],
        2: lambda: p[0] + p[1],
        3: lambda: (p[0] + p[1]) + p[2],
        4: lambda: (p[0] + p[1]) + (p[2] + p[3]),
        6: lambda: ((p[0] + p[1]) + (p[2] + p[3])) + (p[4] + p[5]),
        7: lambda: ((p[0] + p[1]) + (p[2] + p[3])) + ((p[4] + p[5]) + p[6]),
        8: lambda: ((p[0] + p[1]) + (p[2] + p[3])) + ((p[4] + p[5]) + (p[6] + p[7])),
    }[len(p)]()


@contextmanager
def sharded(lengths=LENGTHS, offsets=OFFSETS, rng_key=5, first_shard=0, *, exact=False):
    """The context of a pass over texts of these lengths."""
    context = ShardContext(exact=exact)
    with context.shards([[1] * len(lengths), lengths], offsets, rng_key, first_shard):
        yield context


def patch(model, context):
    """Have a model's modules write their gradients; the writer, and the names of those that cannot."""
    writer = GradWriter(context, GradOverlap())
    return writer, install_grad_ops(model, context, writer, MatmulPolicy())
