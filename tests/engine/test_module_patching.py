"""Each patched module writes the gradients of the stock one, summed by shards."""

import copy

import pytest
import torch
from torch import nn
from transformers.models.bart.modeling_bart import BartScaledWordEmbedding
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.pytorch_utils import Conv1D

from bonafide.engine.shards.grad_overlap import GradOverlap
from bonafide.engine.shards.grad_writer import GradWriter
from bonafide.engine.shards.module_patching import find_tied
from bonafide.engine.shards.shard_context import ShardContext, tree_sum
from bonafide.project.errors import InputError
from tests.shard_inputs import LENGTHS, patch, sharded

pytestmark = pytest.mark.usefixtures("one_thread")


MODULES = {
    "linear": lambda: nn.Linear(6, 5),
    "linear without bias": lambda: nn.Linear(6, 5, bias=False),
    "norm": lambda: nn.LayerNorm(6),
    "norm without bias": lambda: nn.LayerNorm(6, bias=False),
    "embedding": lambda: nn.Embedding(9, 6),
    "norm of one's own": lambda: GroupsNorm(6),
    "rms norm": lambda: nn.RMSNorm(6, eps=1e-5),
    "llama's": lambda: LlamaRMSNorm(6, eps=1e-5),
    "gemma's": lambda: GemmaRMSNorm(6, eps=1e-5),
    "transposed": lambda: Conv1D(5, 6),
    "offset": lambda: OffsetEmbedding(10, 6),
    "padding": lambda: nn.Embedding(9, 6, padding_idx=2),
    "scaled": lambda: BartScaledWordEmbedding(9, 6, 0, embed_scale=6**0.5),
    "linear of one's own": lambda: type("Mine", (nn.Linear,), {})(6, 5),
}


def backward(module, x):
    """Output, the input's gradient and the weights' gradients."""
    x = x.detach().clone().requires_grad_(x.is_floating_point())
    y = module(x)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in module.parameters())]


def stock_and_patched(module, x):
    """What `backward` gives of the stock module, and of one that writes its gradients itself."""
    patched = copy.deepcopy(module)
    with sharded(exact=True) as context:  # or kinds without an implementation of their own are left to autograd
        writer, _ = patch(patched, context)
        expected = backward(copy.deepcopy(module), x)
        with writer.one_pass(patched.parameters()):
            found = backward(patched, x)
        return expected, [*found[:2], *(p.grad for p in patched.parameters())]


def some_input(module, rows):
    shape = (1, rows) if isinstance(module, nn.Embedding) else (1, rows, 6)
    return torch.randint(0, 8, shape) if len(shape) == 2 else torch.randn(shape)


@pytest.mark.parametrize("rows", [sum(LENGTHS), len(LENGTHS)], ids=["tokens", "texts"])
@pytest.mark.parametrize("name", MODULES)
def test_gradients_are_those_of_stock_modules(name, rows):
    torch.manual_seed(3)
    module = MODULES[name]()
    for p in module.parameters():
        nn.init.normal_(p)
    x = some_input(module, rows)
    for expected, found in zip(*stock_and_patched(module, x), strict=True):
        assert (expected is None) == (found is None)
        assert expected is None or (found.shape == expected.shape and (found - expected).abs().max() <= 1e-5)


def test_what_has_an_implementation_of_its_own_is_found_by_trying():
    with sharded(exact=True) as context:
        slow = [name for name, build in MODULES.items() if patch(build(), context)[0].copied]
    assert slow == ["norm of one's own"]


@pytest.mark.parametrize("name", ["llama's", "norm"])
def test_heads_are_rows_of_their_tokens(name):
    """As a norm of queries has them."""
    module, x = MODULES[name](), torch.randn(1, sum(LENGTHS), 3, 6)
    for expected, found in zip(*stock_and_patched(module, x), strict=True):
        assert (found - expected).abs().max() <= 1e-5


class Tied(nn.Module):
    """Looks its words up, twice, and predicts them with the same weights."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(9, 6), nn.Linear(6, 9, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids):
        return self.head(self.words(ids) + torch.tanh(self.words(8 - ids)))


def test_a_tied_table_has_the_sum_of_both_uses():
    module, ids = Tied(), torch.randint(0, 9, (1, sum(LENGTHS)))
    expected, mine = backward(copy.deepcopy(module), ids)[2], copy.deepcopy(module)
    with sharded(exact=True) as context:
        writer, _ = patch(mine, context)
        assert find_tied(mine, writer) == [mine.words.weight]
        writer.lookup_grads = {mine.words.weight: torch.zeros(9, 6)}
        with writer.one_pass(mine.parameters()):
            backward(mine, ids)
        assert (mine.words.weight.grad - expected).abs().max() > 1e-3
        writer.add_lookups()
    assert (mine.words.weight.grad - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("name", MODULES)
def test_frozen_weights_get_no_gradient_and_pass_it_on(name):
    module = MODULES[name]().requires_grad_(requires_grad=False)
    x = some_input(module, sum(LENGTHS))
    if not x.is_floating_point():
        with sharded() as context:
            patch(module, context)
            assert not module(x).requires_grad
        return
    stock, mine = stock_and_patched(module, x)
    assert (mine[1] - stock[1]).abs().max() <= 1e-5
    assert mine[2:] == [None] * len(list(module.parameters()))


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize("name", ["linear", "norm"])
def test_weight_and_bias_may_be_frozen_alone(name, frozen):
    """As BitFit does: only biases are trained."""
    module = MODULES[name]()
    getattr(module, frozen).requires_grad_(requires_grad=False)
    x = some_input(module, sum(LENGTHS))
    for expected, found in zip(*stock_and_patched(module, x), strict=True):
        assert expected is None or (found - expected).abs().max() <= 1e-5


def test_outside_of_a_pass_patched_modules_are_stock():
    for build in MODULES.values():
        module = build()
        x, patched = some_input(module, 7), copy.deepcopy(module)
        patch(patched, ShardContext(exact=True))
        for expected, found in zip(backward(module, x), backward(patched, x), strict=True):
            assert expected is found or torch.equal(expected, found)


def test_a_tensor_of_neither_texts_nor_tokens_is_refused():
    with sharded() as context, pytest.raises(KeyError):
        context.sizes_of(torch.ones(7, 2))


class Holder(nn.Module):
    """Weights beside a module, with which they may be used in any way."""

    def __init__(self):
        super().__init__()
        self.inner, self.scale = nn.Linear(2, 2), nn.Parameter(torch.ones(2))


def test_a_module_that_cannot_be_summed_is_named():
    model = nn.Sequential(nn.Linear(2, 2), Holder(), GroupsNorm(2))
    assert patch(copy.deepcopy(model), ShardContext())[1] == ["1 (Holder)", "2 (GroupsNorm)"]
    assert patch(copy.deepcopy(model), ShardContext(exact=True))[1] == ["1 (Holder)"]
    model[1].scale.requires_grad_(requires_grad=False)
    assert patch(model, ShardContext(exact=True))[1] == []


SHAPES = {
    "tokens": (1, 19, 8),
    "heads of tokens": (1, 19, 2, 8),
    "tokens of heads": (1, 2, 19, 8),
    "texts": (6, 1, 8),
    "texts as wide as tokens": (6, 1, 19),
    "flat": (19, 8),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_rows_of_a_tensor_are_found_wherever_they_lie(shape):
    rows = next(dim for dim in (19, 6) if dim in shape[:-1])
    with sharded() as context:
        assert context.row_dim(torch.ones(shape)) == shape.index(rows)


def test_as_many_heads_as_tokens_are_told_from_them_by_where_they_lie():
    x = torch.ones(1, 3, 3, 8)
    with sharded([1, 2], [0, 1, 2]) as context:
        assert context.row_dim(x) == 1
        assert context.row_dim(x.transpose(1, 2)) == 2
        assert context.row_dim(torch.ones(1, 5)) is None


def test_a_module_without_rows_keeps_shards_from_sharing_a_pass():
    module = GroupsNorm(6)
    with sharded(exact=True) as context:
        patch(module, context)
        with pytest.raises(InputError, match="GroupsNorm reads no rows of texts"):
            module(torch.ones(7, 6))


class GroupsNorm(nn.Module):
    """A norm like no other: by the sum of absolutes."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x / x.abs().sum(-1, keepdim=True) * self.weight


class OffsetEmbedding(nn.Embedding):
    """As OPT has it."""

    def forward(self, ids):
        return super().forward(ids + 1)


class Twice(nn.Module):
    """A weight that is used by its module, and once more: by it or past it."""

    def __init__(self, past):
        super().__init__()
        self.inner, self.past = nn.Linear(6, 6), past

    def forward(self, x):
        return nn.functional.linear(self.inner(x), self.inner.weight) if self.past else self.inner(self.inner(x))


def test_a_weight_that_is_used_twice_gets_the_sum_or_is_refused_where_that_comes_late():
    x, module = torch.randn(1, sum(LENGTHS), 6), Twice(past=False)
    expected = backward(copy.deepcopy(module), x)
    with sharded(exact=True) as context:
        writer, _ = patch(module, context)
        for mine, its in zip(backward(module, x), expected, strict=True):
            assert (mine - its).abs().max() <= 1e-4
        assert writer.shared == {*module.inner.parameters()}
        late = Twice(past=False)
        patch(late, context)[0].is_settled = True
        with pytest.raises(InputError, match=r"used more often than at the start .* set train\.exact to false"):
            backward(late, x)


def test_uses_of_a_weight_are_added_up_within_each_shard():
    """Or the sum over uses of sums over shards would not be the sum over processes of theirs."""
    uses = [[1e8, 1.0, 3.0], [-1e8, 1.0, 4.0]]  # two of three shards; added up by shards first they lose a one
    p, writer = nn.Parameter(torch.zeros(1)), GradWriter(ShardContext(exact=True), GradOverlap())
    writer.shared, writer.is_settled = {p}, True
    with writer.one_pass([p]):
        for use in uses:
            parts = [torch.tensor([part]) for part in use]
            writer.write(p, lambda out, parts=parts: out.copy_(tree_sum(parts)), parts.__iter__)
    assert p.grad.tolist() == [9]
    assert tree_sum(tree_sum(torch.tensor([part]) for part in use) for use in uses).tolist() != [9]


def test_a_weight_that_is_used_past_its_module_is_refused():
    module = Twice(past=True)
    with sharded(exact=True) as context:
        patch(module, context)
        with pytest.raises(InputError, match=r"inner \(Linear\) is used outside of its own forward"):
            backward(module, torch.randn(1, sum(LENGTHS), 6))


@pytest.mark.parametrize("exact", [True, False])
def test_a_table_that_is_read_twice_has_no_gradient_left_of_the_pass_before(exact):
    """Only the rows that a pass has written are zeroed before the next one."""
    table, passes = nn.Embedding(9, 4), [([1, 2, 3], [4, 4, 5]), ([6, 6, 6], [7, 8, 7])]
    context = ShardContext(exact=exact)
    writer, _ = patch(table, context)
    for ids in (torch.tensor(both) for both in passes):
        with context.shards([[1, 1, 1]], [0, 2, 3], 5, 0), writer.one_pass(table.parameters()):
            (table(ids[0]).sum() + table(ids[1]).sum()).backward()
        assert torch.equal(table.weight.grad[:, 0], torch.bincount(ids.flatten(), minlength=9).float())
