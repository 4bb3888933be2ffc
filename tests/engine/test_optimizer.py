"""AdamW over one vector makes torch's updates, and decays what should."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from bonafide.engine.optimizer import FlatAdamW, hidden_matrices
from tests.tiny_engines import RECIPE, build_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_decay_spares_biases_norms_and_embeddings(architecture):
    model = build_model(architecture)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = FlatAdamW(model, replace(RECIPE, weight_decay=0.5))
    optimizer.step(0.1, 1.0)  # without a gradient, decay alone moves a weight
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    assert tables
    for name, p in model.named_parameters():
        spared = p.ndim == 1 or id(p) in tables
        assert torch.equal(p, before[name] if spared else before[name] * (1 - 0.1 * 0.5)), name


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.95)])
@pytest.mark.parametrize("norm", [0.01, 1e6], ids=["clipped", "not clipped"])
def test_an_update_is_torchs_clipping_and_adamw(norm, betas):
    mine = build_model()
    stock = copy.deepcopy(mine)
    optimizer = FlatAdamW(mine, replace(RECIPE, weight_decay=0.1, betas=betas))
    groups = [
        {"params": [p for p in stock.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in stock.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    rows = [module.weight for module in stock.modules() if isinstance(module, nn.Embedding)]
    groups[0]["params"] = [p for p in groups[0]["params"] if all(p is not row for row in rows)]
    groups[1]["params"] += rows
    reference = torch.optim.AdamW(groups, lr=1.0, betas=betas)
    rng = torch.Generator().manual_seed(5)
    for rate in (1e-3, 2e-3, 5e-4):
        for p, q in zip(mine.parameters(), stock.parameters(), strict=True):
            p.grad.copy_(torch.randn(p.shape, generator=rng))
            q.grad = p.grad.clone()
        nn.utils.clip_grad_norm_(stock.parameters(), norm)
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()
        optimizer.reduce_buffer[optimizer.loss_slot] = 1e9  # a loss beside them counts for nothing
        optimizer.step(rate, norm)
    for p, q in zip(mine.parameters(), stock.parameters(), strict=True):
        assert (p - q).abs().max() <= 1e-6


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_muon_has_the_matrices_within_layers_alone(architecture):
    model = build_model(architecture)
    names = {name for name, p in model.named_parameters() if p in hidden_matrices(model)}
    assert len(names) == {"bert": 12, "gpt2": 8}[architecture]
    assert all((".layer." in name or ".h." in name) and name.endswith("weight") for name in names)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = FlatAdamW(model, replace(RECIPE, optimizer="muon", weight_decay=0.0))
    for p in model.parameters():
        p.grad.copy_(torch.randn(p.shape))
    optimizer.step(RECIPE.learning_rate, 1.0)
    for name, p in model.named_parameters():
        step, width = p.detach() - before[name], 1 - (architecture == "gpt2")
        if name in names:  # singular values of a step are near its rate, times a root where there are more outputs
            values = torch.linalg.svdvals(step) / max(1, step.shape[1 - width] / step.shape[width]) ** 0.5
            assert 0.6 < float(values.median() / 0.02) < float(values.max() / 0.02) < 1.3
        else:
            assert float(step.abs().max()) == pytest.approx(RECIPE.learning_rate, rel=1e-3)
        assert name not in names or not optimizer.state()[f"exp_avg_sq.{name}"].any()
