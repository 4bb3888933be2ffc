"""AdamW over one vector makes torch's updates, and decays what should."""

import copy

import pytest
import torch

from bonafide.engine.optimizer import FlatAdamW
from tests.tiny_engines import build_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_decay_spares_biases_norms_and_embeddings(architecture):
    model = build_model(architecture)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = FlatAdamW(model, 0.5)
    optimizer.step(0.1, 1.0)  # without a gradient, decay alone moves a weight
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    assert tables
    for name, p in model.named_parameters():
        spared = p.ndim == 1 or id(p) in tables
        assert torch.equal(p, before[name] if spared else before[name] * (1 - 0.1 * 0.5)), name


@pytest.mark.parametrize("norm", [0.01, 1e6], ids=["clipped", "not clipped"])
def test_an_update_is_torchs_clipping_and_adamw(norm):
    mine = build_model()
    stock = copy.deepcopy(mine)
    optimizer = FlatAdamW(mine, 0.1)
    groups = [
        {"params": [p for p in stock.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in stock.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    rows = [module.weight for module in stock.modules() if isinstance(module, torch.nn.Embedding)]
    groups[0]["params"] = [p for p in groups[0]["params"] if all(p is not row for row in rows)]
    groups[1]["params"] += rows
    reference = torch.optim.AdamW(groups, lr=1.0)
    rng = torch.Generator().manual_seed(5)
    for rate in (1e-3, 2e-3, 5e-4):
        for p, q in zip(mine.parameters(), stock.parameters(), strict=True):
            p.grad.copy_(torch.randn(p.shape, generator=rng))
            q.grad = p.grad.clone()
        torch.nn.utils.clip_grad_norm_(stock.parameters(), norm)
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()
        optimizer.reduce_buffer[optimizer.loss_slot] = 1e9  # a loss beside them counts for nothing
        optimizer.step(rate, norm)
    for p, q in zip(mine.parameters(), stock.parameters(), strict=True):
        assert (p - q).abs().max() <= 1e-6
