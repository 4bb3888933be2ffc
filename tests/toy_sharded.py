"""A worker for the test of sharding: trains a tiny BERT with FSDP2, saves, loads, and writes what it ended with.

usage: toy_sharded.py FOLDER save|load
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from bonafide import launch
from bonafide.fully_sharded import full_state, load_state, local_state, shard
from bonafide.training import build_optimizer

FOLDER, MODE = Path(sys.argv[1]), sys.argv[2]


def build(seed):
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=101,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = shard(BertForSequenceClassification(config))
    return model, build_optimizer(model, 0.01)


def train(model, optimizer, rank, steps):
    for step in steps:
        chance = torch.Generator().manual_seed(100 * step + rank)
        tokens = torch.randint(101, (4, 8), generator=chance)
        labels = torch.randint(3, (4,), generator=chance)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3
        model(input_ids=tokens, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def write(name, model, optimizer, rank, size):
    folder = FOLDER / name
    folder.mkdir(exist_ok=True)
    save_file(local_state(model, optimizer), folder / f"rank-{rank}-of-{size}.safetensors")
    whole = full_state(model)
    assert bool(whole) == (rank == 0)
    if rank == 0:
        save_file(whole, folder / "whole.safetensors")


def read(name):
    files = (FOLDER / name).glob("rank-*.safetensors")
    return [load_file(file) for file in sorted(files, key=lambda file: int(file.stem.split("-")[1]))]


def main():
    torch.set_num_threads(1)
    launch.exit_with_parent()
    rank, size = launch.join()
    model, optimizer = build(seed=1 if MODE == "load" else 0)
    if MODE == "save":
        train(model, optimizer, rank, range(2))
        write("saved", model, optimizer, rank, size)
    else:
        load_state(model, optimizer, read("saved"))
        write(f"loaded-{size}", model, optimizer, rank, size)
    train(model, optimizer, rank, range(2, 4))
    write(f"{MODE}-end-{size}", model, optimizer, rank, size)
    launch.leave()


main()
