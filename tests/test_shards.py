"""The same bytes from any number of processes: sums as trees, chance by shard, gradients by shard."""

import copy
import queue
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed, nn
from torch import multiprocessing as mp
from transformers.pytorch_utils import Conv1D

from bonafide.by_shard import take_over
from bonafide.errors import InputError
from bonafide.placing import place, written
from bonafide.plan import cut
from bonafide.shards import Dropout, Layout, replace_dropout, tree_sum
from bonafide.world import World
from tests.tiny_engines import DECODERS, ENCODERS, build_engine, build_model, random_tokens, train

pytestmark = pytest.mark.usefixtures("one_thread")

LENGTHS, CUTS = [1, 2, 2, 3, 5, 6], [0, 2, 3, 3, 6]  # four shards of 3, 2, 0 and 14 rows


@pytest.fixture(scope="module")
def model():
    return build_model(dropout=0.1)


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


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 7, 8])
def test_sums_are_taken_as_a_tree(n):
    parts, spent = parts_of(n), []
    assert torch.equal(tree_sum((part.clone() for part in parts), spent.append), golden(parts))
    assert len(spent) == n - 1
    if n > 2:  # the order matters
        assert not torch.equal(golden(parts), sum(parts[::-1]))


@pytest.mark.parametrize("halves", [2, 4])
def test_the_tree_of_parts_is_the_tree_of_the_whole(halves):
    parts, each = parts_of(8), 8 // halves
    inner = (tree_sum(part.clone() for part in parts[i : i + each]) for i in range(0, 8, each))
    assert torch.equal(tree_sum(inner), golden(parts))


def laid_out(lengths, cuts, key=5, first_shard=0):
    layout = Layout()
    layout.set(lengths, cuts, key, first_shard)
    return layout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1 / 65536])
def test_the_share_that_is_dropped_is_near_p(p):
    kept = laid_out([250] * 8, [0, 2, 4, 6, 8]).keep(torch.ones(1, 2000, 64), p, 1)
    n = kept.numel()
    assert float((kept == 0).float().mean()) == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5 + 2**-16)
    assert kept[kept != 0].unique().tolist() == pytest.approx([1 / (1 - p)], rel=1e-4)
    assert float(kept.mean()) == pytest.approx(1, abs=5 * (p / (1 - p) / n) ** 0.5)


def test_chance_is_a_function_of_key_shard_site_and_position():
    x = torch.ones(19, 8)
    kept = laid_out(LENGTHS, CUTS).keep(x, 0.5, 3)
    torch.manual_seed(9)
    assert torch.equal(kept, laid_out(LENGTHS, CUTS).keep(x, 0.5, 3))
    assert torch.equal(kept[None], laid_out(LENGTHS, CUTS).keep(x[None], 0.5, 3))
    for other in (
        laid_out(LENGTHS, CUTS, key=6).keep(x, 0.5, 3),
        laid_out(LENGTHS, CUTS, first_shard=1).keep(x, 0.5, 3),
        laid_out(LENGTHS, CUTS).keep(x, 0.5, 4),
    ):
        assert 0.3 < float((kept != other).float().mean()) < 0.7


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(0, 2**63 - 1), st.integers(1, 33))
def test_a_shard_has_the_same_chance_wherever_it_lies(lengths, key, width):
    rows, cuts = cut(np.arange(len(lengths)), np.array(lengths), 4)
    lengths = [lengths[row] for row in rows]
    whole = laid_out(lengths, cuts.tolist(), key).keep(torch.ones(sum(lengths), width), 0.5, 2)
    for first, last in ((0, 2), (2, 4), (3, 4)):
        mine = lengths[cuts[first] : cuts[last]]
        before = sum(lengths[: cuts[first]])
        if mine:
            part = laid_out(mine, (cuts[first : last + 1] - cuts[first]).tolist(), key, first)
            kept = part.keep(torch.ones(sum(mine), width), 0.5, 2)
            assert torch.equal(kept, whole[before : before + sum(mine)])


def test_dropout_drops_in_training_only_and_is_the_derivative_of_itself():
    layout = laid_out(LENGTHS, CUTS)
    dropout = Dropout(0.5, 0, layout)
    x = torch.randn(19, 4, requires_grad=True)
    y = dropout(x)
    y.sum().backward()
    assert torch.equal(y, x * x.grad)
    assert (x.grad == 0).any()
    assert dropout.eval()(x) is x
    assert Dropout(0.0, 0, layout)(x) is x


def test_each_dropout_is_replaced_once(model):
    mine = copy.deepcopy(model)
    layout = Layout()
    replace_dropout(mine, layout)
    found = [module for module in mine.modules() if isinstance(module, Dropout)]
    assert [module.site for module in found] == list(range(len(found)))
    assert len(found) == sum(isinstance(module, nn.Dropout) for module in model.modules())
    assert not any(isinstance(module, nn.Dropout) for module in mine.modules())


MODULES = {
    "linear": lambda: nn.Linear(6, 5),
    "linear without bias": lambda: nn.Linear(6, 5, bias=False),
    "norm": lambda: nn.LayerNorm(6),
    "norm without bias": lambda: nn.LayerNorm(6, bias=False),
    "embedding": lambda: nn.Embedding(9, 6),
    "rms norm": lambda: nn.RMSNorm(6),
    "transposed": lambda: Conv1D(5, 6),
    "offset": lambda: OffsetEmbedding(10, 6),
    "linear of one's own": lambda: type("Mine", (nn.Linear,), {})(6, 5),
}


def backward(module, x, layout=None):
    """Output, the input's gradient and the weights' gradients."""
    module = copy.deepcopy(module)
    if layout:
        layout.exact = True  # or kinds that are not known are left to autograd
        take_over(module, layout)
    x = x.detach().clone().requires_grad_(x.is_floating_point())
    y = module(x)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in module.parameters())]


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
    stock, mine = backward(module, x), backward(module, x, laid_out(LENGTHS, CUTS))
    for expected, found in zip(stock, mine, strict=True):
        assert (expected is None) == (found is None)
        assert expected is None or (found.shape == expected.shape and (found - expected).abs().max() <= 1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_frozen_weights_get_no_gradient_and_pass_it_on(name):
    module = MODULES[name]().requires_grad_(requires_grad=False)
    x = some_input(module, sum(LENGTHS))
    if not x.is_floating_point():
        layout = laid_out(LENGTHS, CUTS)
        take_over(module, layout)
        assert not module(x).requires_grad
        return
    stock, mine = backward(module, x), backward(module, x, laid_out(LENGTHS, CUTS))
    assert (mine[1] - stock[1]).abs().max() <= 1e-5
    assert mine[2:] == [None] * len(list(module.parameters()))


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize("name", ["linear", "norm"])
def test_weight_and_bias_may_be_frozen_alone(name, frozen):
    """As BitFit does: only biases are trained."""
    module = MODULES[name]()
    getattr(module, frozen).requires_grad_(requires_grad=False)
    x = some_input(module, sum(LENGTHS))
    for expected, found in zip(backward(module, x), backward(module, x, laid_out(LENGTHS, CUTS)), strict=True):
        assert expected is None or (found - expected).abs().max() <= 1e-5


def test_without_a_batch_exact_modules_are_stock():
    layout = laid_out(LENGTHS, CUTS)
    layout.clear()
    for build in MODULES.values():
        module = build()
        x = some_input(module, 7)
        for expected, found in zip(backward(module, x), backward(module, x, layout), strict=True):
            assert expected is found or torch.equal(expected, found)


def test_a_tensor_of_neither_texts_nor_tokens_is_refused():
    with pytest.raises(KeyError):
        laid_out(LENGTHS, CUTS).sizes(torch.ones(7, 2))


class Holder(nn.Module):
    """Weights beside a module, with which they may be used in any way."""

    def __init__(self):
        super().__init__()
        self.inner, self.scale = nn.Linear(2, 2), nn.Parameter(torch.ones(2))


def test_a_module_that_cannot_be_summed_is_named():
    model, layout = nn.Sequential(nn.Linear(2, 2), Holder(), nn.RMSNorm(2)), Layout()
    assert take_over(copy.deepcopy(model), layout) == ["1 (Holder)", "2 (RMSNorm)"]
    layout.exact = True
    assert take_over(copy.deepcopy(model), layout) == ["1 (Holder)"]
    model[1].scale.requires_grad_(requires_grad=False)
    assert take_over(model, layout) == []


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
    assert laid_out(LENGTHS, CUTS).dim(torch.ones(shape)) == shape.index(rows)


def test_as_many_heads_as_tokens_are_told_from_them_by_where_they_lie():
    layout, x = laid_out([1, 2], [0, 1, 2]), torch.ones(1, 3, 3, 8)
    assert layout.dim(x) == 1
    assert layout.dim(x.transpose(1, 2)) == 2
    assert layout.dim(torch.ones(1, 5)) is None


def test_a_module_without_rows_keeps_shards_from_sharing_a_pass():
    layout = laid_out(LENGTHS, CUTS)
    layout.exact, module = True, nn.RMSNorm(6)
    take_over(module, layout)
    with pytest.raises(InputError, match="RMSNorm reads no rows of texts"):
        module(torch.ones(7, 6))


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
    x, layout = torch.randn(1, sum(LENGTHS), 6), laid_out(LENGTHS, CUTS)
    module = Twice(past=False)
    for expected, found in zip(backward(module, x), backward(module, x, layout), strict=True):
        assert (found - expected).abs().max() <= 1e-4
    assert len(layout.shared) == 2
    layout = laid_out(LENGTHS, CUTS)
    layout.settled = True
    with pytest.raises(InputError, match=r"used more often than at the start .* set train\.exact to false"):
        backward(module, x, layout)


def test_uses_of_a_weight_are_added_up_within_each_shard():
    """Or the sum over uses of sums over shards would not be the sum over processes of theirs."""
    uses = [[1e8, 1.0, 3.0], [-1e8, 1.0, 4.0]]  # two of three shards; added up by shards first they lose a one
    p, layout = nn.Parameter(torch.zeros(1)), Layout()
    layout.shared, layout.settled, layout.exact = {id(p)}, True, True
    with written([p], layout):
        for use in uses:
            parts = [torch.tensor([part]) for part in use]
            place(p, layout, lambda out, parts=parts: out.copy_(tree_sum(parts)), parts.__iter__)
    assert p.grad.tolist() == [9]
    assert not layout.parts
    assert tree_sum(tree_sum(torch.tensor([part]) for part in use) for use in uses).tolist() != [9]


def test_a_weight_that_is_used_past_its_module_is_refused():
    x = torch.randn(1, sum(LENGTHS), 6)
    with pytest.raises(InputError, match=r"inner \(Linear\) is used outside of its own forward"):
        backward(Twice(past=True), x, laid_out(LENGTHS, CUTS))


@pytest.mark.parametrize("architecture", [*ENCODERS[:-1], *DECODERS, "deberta-v2"])
def test_weights_are_bitwise_equal_in_one_two_and_four_passes(architecture):
    whole = build_model(architecture, dropout=0.1)
    found = [train(whole, tokens(), 5, shards=4, accumulation=n) for n in (1, 2, 4)]
    assert found[0] == found[1] == found[2]
    assert found[0] != train(whole, tokens(), 5, shards=4, seed=2)  # or this says nothing


@pytest.mark.parametrize("architecture", [*ENCODERS, *DECODERS])
def test_shards_share_a_pass_where_that_changes_no_bit(architecture):
    """Of widths that leave no rest to the elementwise kernels, as all do that are in use."""
    engine = build_engine(build_model(architecture, intermediate_size=64), tokens(), shards=4)
    assert (engine.packed, engine.apart, engine.describe()) == (True, "", "packed texts, exact sums")
    assert bool(engine.layout.shared) == (architecture == "albert")


def test_each_shard_is_a_pass_of_its_own_where_it_must_be():
    padded = build_engine(build_model("deberta-v2"), tokens(), shards=4)
    assert "AttentionInterface" in padded.obstacle
    assert padded.apart == "padded rows depend on the longest text"
    assert padded.describe() == (
        "padded texts (its attention does not go through transformers' AttentionInterface), exact sums,"
        " each of 4 shards a pass of its own (padded rows depend on the longest text)"
    )
    model = build_model("llama")
    model.model.norm = Beside(model.model.norm)
    holds = build_engine(model, tokens(), shards=4)
    assert (holds.packed, holds.apart) == (True, "model.norm (Beside) holds weights beside modules")
    model = build_model("bert")
    model.classifier = Past(32, model.bert.pooler.dense)
    past = build_engine(model, tokens(), shards=4)
    assert past.apart.startswith("bert.pooler.dense (Linear) is used outside of its own forward")
    for engine in (padded, holds, past):
        rows = np.arange(8)
        whole = engine._gradients(rows, 1), engine.optimizer.gradient.clone()
        engine.recipe = replace(engine.recipe, accumulation=4)
        assert torch.equal(engine._gradients(rows, 1), whole[0])
        assert torch.equal(engine.optimizer.gradient, whole[1])


class Beside(nn.Module):
    """A norm and a weight beside it."""

    def __init__(self, norm):
        super().__init__()
        self.norm, self.scale = norm, nn.Parameter(torch.ones(32))

    def forward(self, x):
        return self.norm(x) * self.scale


class Past(nn.Linear):
    """A head that uses the weights of the layer below it."""

    def __init__(self, width, below):
        super().__init__(width, 3)
        self.below = [below]

    def forward(self, x):
        return super().forward(nn.functional.linear(x, self.below[0].weight))


def test_a_rest_that_is_rounded_otherwise_is_noticed(monkeypatch):
    """A product of all rows with itself has other bits in parts."""
    model = build_model("bert")
    dense = model.bert.encoder.layer[0].intermediate.dense
    dense.register_forward_hook(lambda _module, _args, y: y * (1 + 1e-7 * y.shape[1]))
    engine = build_engine(model, tokens(), shards=4)
    assert engine.apart == "shards that share one have other bits"
    assert not engine.layout.exact


def test_shards_change_rounding_only():
    plain = build_model()
    one, four = (train(plain, tokens(), 5, shards=n)[1] for n in (1, 4))
    assert one == pytest.approx(four, abs=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "albert", "llama"])
def test_parts_that_need_not_be_exact_are_nearly(architecture):
    plain = build_model(architecture)
    engine = build_engine(copy.deepcopy(plain), tokens(), exact=False)
    assert engine.describe().endswith(", sums not exact (train.exact is false)")
    one, two = (train(plain, tokens(), 5, accumulation=n, exact=False)[1] for n in (1, 2))
    assert one == pytest.approx(two, abs=1e-5)


class Turns(World):
    """A process played by a thread; one runs at a time, and hands over where a real one would wait."""

    turn = threading.Lock()

    def of(self, boxes):
        object.__setattr__(self, "boxes", boxes)
        return self

    def _exchange(self, mine, partner):
        self.boxes[partner, self.rank].put(mine.clone())
        Turns.turn.release()
        theirs = self.boxes[self.rank, partner].get(timeout=30)
        Turns.turn.acquire()
        return theirs


def in_threads(size, work):
    boxes = {(to, by): queue.Queue() for to in range(size) for by in range(size)}
    found = [None] * size

    def process(rank):
        torch.set_num_threads(1)  # of this thread
        with Turns.turn:
            found[rank] = work(Turns(rank, size).of(boxes))

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("size", [2, 4, 8])
def test_worlds_add_up_in_the_order_of_one(size):
    parts = parts_of(8)
    each = 8 // size

    def work(world):
        return world.sum(tree_sum(p.clone() for p in parts[world.rank * each : (world.rank + 1) * each]))

    assert all(torch.equal(total, golden(parts)) for total in in_threads(size, work))


@settings(max_examples=4)
@given(st.integers(5, 20), st.sampled_from([(2, 1), (2, 2), (4, 1)]))
def test_weights_are_bitwise_equal_in_played_worlds(n, world_and_accumulation):
    size, accumulation = world_and_accumulation
    whole, texts = build_model(dropout=0.1), random_tokens(n, seed=n)
    expected = train(whole, texts, 3, shards=4)
    found = in_threads(size, lambda world: train(whole, texts, 3, world, shards=4, accumulation=accumulation))
    assert found == [expected] * size


def test_a_lone_process_agrees_with_itself():
    assert World().agree(7) == 7
    assert World().sum(torch.ones(2)).tolist() == [1, 1]


def process(rank, size, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet{size}", rank=rank, world_size=size)
    world = World(rank, size)
    agreed = world.agree(10 + rank)
    weights, losses = train(build_model(dropout=0.1), tokens(), 6, world, shards=4)
    (folder / f"{size}-{rank}").write_text(f"{weights} {losses} {agreed}")
    distributed.destroy_process_group()


@pytest.mark.slow  # 4 processes import transformers
def test_weights_are_bitwise_equal_in_one_two_and_four_processes(tmp_path):
    for size in (1, 2, 4):
        mp.spawn(process, (size, tmp_path), nprocs=size)
    found = {path.read_text() for path in tmp_path.glob("?-?")}
    assert len(list(tmp_path.glob("?-?"))) == 7
    assert len(found) == 1


def gone(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    if rank:
        return
    with pytest.raises(ConnectionError, match="a process of the group is gone"):
        World(0, 2).sum(torch.ones(3))
    (folder / "told").touch()


@pytest.mark.slow
def test_a_process_that_is_gone_is_a_connection_error(tmp_path):
    mp.spawn(gone, (tmp_path,), nprocs=2)
    assert (tmp_path / "told").exists()
