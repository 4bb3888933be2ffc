"""One training run of a translator or language model in a process of its own: the engine, or a peer on the same work.

All arms have the same rows, batch size, warmup to a constant rate and number of steps; but for nanoGPT's and the
essay's, which have their own, also the same model. What is timed is whole batches of real tokens, without padding.
"""

import contextlib
import runpy
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import peers
from benchmarks.job import Example, Figures, Meter
from benchmarks.measured import peak_mb
from benchmarks.network_job import Job, Spec
from bonafide.engine.process_group import ProcessGroup
from bonafide.forward.token_losses import cross_entropy
from bonafide.params.load import load_params
from bonafide.pretrained import tokenizer
from bonafide.project import environment
from bonafide.project.paths import TOKENIZED
from bonafide.protocol import Train, load
from bonafide.training.fit import build_engine

__all__ = ["ARMS", "Spec", "measure"]


def measure(spec: Spec) -> Figures:
    """Run an arm in this process and return its figures."""
    with contextlib.chdir(spec.data):
        environment.prepare()
        params = load_params()
        torch.set_num_threads(params.threads)
        torch.manual_seed(spec.seed)
        task: Any = load(params.task.name, Train)
        processor, given = tokenizer.load(TOKENIZED / "processor"), task.examples(TOKENIZED / "train")
        began, meter = time.perf_counter(), Meter("cpu", spec.warmup, spec.steps)
        ARMS[spec.arm](Job(params, task, task.build(params), processor, given, spec, meter))
        return meter.figures(began) | {"peak_mb": peak_mb("cpu"), "machine": environment.fingerprint(params.threads)}


def engine(job: Job, **changes: Any) -> None:
    """The engine as the recipe has it, but for `changes` of its train section."""
    epoch = -(-len(job.task.at_epoch(job.given, job.seed, 1)) // job.recipe.batch_size)
    epochs = -(-job.steps // epoch)
    schedule = {"schedule": "constant", "warmup_ratio": job.warmup / (epochs * epoch)}
    given: Any = job.params
    params = replace(given, seed=job.seed, train=replace(job.recipe, epochs=epochs, **schedule, **changes))
    loss = partial(cross_entropy, smoothing=job.recipe.label_smoothing) if translates(job) else job.task.loss
    task: Any = SimpleNamespace(**vars(job.task) | {"loss": loss})
    timer: Any = lambda _: nullcontext()  # noqa: E731
    running = build_engine(job.model, job.given, task, params, ProcessGroup(exact=job.recipe.exact), timer)
    for step, _ in zip(running.steps(), range(job.steps), strict=False):
        job.meter.batch(step.tokens)
        job.meter.step(step.loss.detach())


def translates(job: Job) -> bool:
    """Whether examples have a source and a target."""
    return hasattr(job.given, "source_ids")


def trainer(job: Job, *, bf16: bool) -> None:
    """The Trainer of transformers at its best: padding per batch, batches of like lengths, fused AdamW."""
    from transformers import Trainer, TrainingArguments, trainer_pt_utils

    # as of a whole table: of few rows it would sort fewer batches together, and pad more
    whole = partial(trainer_pt_utils.get_length_grouped_indices, mega_batch_mult=peers.GROUP)
    trainer_pt_utils.get_length_grouped_indices = whole
    rows, collate = examples(job)
    best = {
        "train_sampling_strategy": "group_by_length",
        "optim": "adamw_torch_fused",
        "adam_beta1": job.recipe.betas[0],
        "adam_beta2": job.recipe.betas[1],
        "lr_scheduler_type": "constant_with_warmup",
        "logging_nan_inf_filter": False,
        "bf16": bf16,
        "label_smoothing_factor": job.recipe.label_smoothing if translates(job) else 0.0,
        "remove_unused_columns": False,
    }
    if attention := getattr(job.model, "set_attn_implementation", None):
        attention("sdpa")
    peers.fit(job, Trainer, TrainingArguments, best, model=job.model, train_dataset=rows, data_collator=collate)  # type: ignore[arg-type]


def examples(job: Job) -> tuple[list[Example], Callable[[list[Example]], Any]]:
    """Rows as transformers' own recipes have them, and the collator that they have for them, which counts tokens."""
    from transformers import DataCollatorForLanguageModeling, DataCollatorForSeq2Seq

    if translates(job):
        pairs = job.given
        sources, targets = (
            np.split(ids, offsets[1:-1])
            for ids, offsets in ((pairs.source_ids, pairs.source_offsets), (pairs.target_ids, pairs.target_offsets))
        )
        rows = [{"input_ids": a.tolist(), "labels": b.tolist()} for a, b in zip(sources, targets, strict=True)]
        return rows, counted(job, DataCollatorForSeq2Seq(job.processor, job.model))
    masked = job.processor.mask_token is not None
    if masked:  # run_mlm --line_by_line: a text a row
        texts = np.split(whole_texts(job.given), job.given.offsets[1:-1])
    else:  # run_clm: all documents in a row, cut into blocks
        context = job.given.context
        texts = np.split(job.given.input_ids, range(context, len(job.given.input_ids), context))[:-1]
    rows = [{"input_ids": text.tolist()} for text in texts]
    return rows, counted(job, DataCollatorForLanguageModeling(job.processor, mlm=masked, mlm_probability=0.15))


def whole_texts(texts: Any) -> Any:
    """The ids of masked texts with what is hidden in its place."""
    return np.where(texts.targets < 0, texts.input_ids, texts.targets)


def counted(job: Job, collate: Any) -> Callable[[list[Example]], Any]:
    """A collator that tells the meter of a batch's real tokens."""

    def collated(rows: list[Example]) -> Any:
        job.meter.batch(sum(len(ids) for row in rows for ids in row.values()))
        return collate(rows)

    return collated


def essay(job: Job) -> None:
    """The essay's program, made runnable: torch.nn.Transformer of its sizes, fp32, shuffled batches padded each, Adam.

    Its masks are right here, as they must be for its loss to mean anything; it has no schedule.
    """
    sizes, vocabulary = job.recipe.architecture, len(job.processor)
    body = nn.Transformer(
        sizes.width, sizes.heads, sizes.layers, sizes.layers, sizes.feed_forward, job.recipe.dropout, batch_first=True
    )
    source, target = (nn.Embedding(vocabulary, sizes.width) for _ in range(2))
    head, places = nn.Linear(sizes.width, vocabulary), sinusoids(sizes.positions, sizes.width)
    weights = [p for part in (body, source, target, head) for p in part.parameters()]
    optimizer, nats = torch.optim.Adam(weights, lr=1e-3), nn.CrossEntropyLoss(ignore_index=0)
    rows, collate = examples(job)
    for batch in job.batches(len(rows)):
        found = collate([rows[row] for row in batch])
        x, y = found["input_ids"], found["labels"].clamp(min=0)
        y_in = torch.cat([torch.zeros_like(y[:, :1]), y[:, :-1]], dim=1)
        out = body(
            source(x) + places[: x.shape[1]],
            target(y_in) + places[: y.shape[1]],
            tgt_mask=nn.Transformer.generate_square_subsequent_mask(y.shape[1]),
            src_key_padding_mask=(x == 0).float() * -1e9,
            memory_key_padding_mask=(x == 0).float() * -1e9,
            tgt_is_causal=True,
        )
        loss = nats(head(out).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        job.meter.step(loss.detach())


def sinusoids(positions: int, width: int) -> torch.Tensor:
    """Vaswani et al. (2017), 3.5: (positions, width)."""
    angles = torch.arange(positions)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def nanogpt(job: Job, *, bf16: bool = False) -> None:
    """Its own model, optimizer and random windows, as its train.py runs on a CPU: fp32, not compiled."""
    if job.spec.nanogpt is None:
        raise ImportError("no nanoGPT: say --nanogpt CHECKOUT")
    module = SimpleNamespace(**runpy.run_path(str(job.spec.nanogpt / "model.py")))
    sizes, context, recipe = job.recipe.architecture, job.given.context, job.recipe
    config = module.GPTConfig(
        block_size=context, vocab_size=len(job.processor), n_layer=sizes.layers, n_head=sizes.heads,
        n_embd=sizes.width, dropout=recipe.dropout, bias=False,
    )  # fmt: skip
    model = module.GPT(config)
    optimizer = model.configure_optimizers(recipe.weight_decay, recipe.learning_rate, recipe.betas, "cpu")
    ids, rng = torch.from_numpy(job.given.input_ids.astype(np.int64)), torch.Generator().manual_seed(job.seed)
    for _ in range(job.steps):
        at = torch.randint(len(ids) - context, (recipe.batch_size,), generator=rng)
        x, y = (torch.stack([ids[i + shift : i + shift + context] for i in at.tolist()]) for shift in (0, 1))
        job.meter.batch(x.numel())
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            _, loss = model(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        job.meter.step(loss.detach())


ARMS: dict[str, Callable[[Job], None]] = {
    "exact": engine,
    "exact-fp32": partial(engine, precision="fp32"),
    "exact-adamw": partial(engine, optimizer="adamw"),
    "exact-adamw-fp32": partial(engine, optimizer="adamw", precision="fp32"),
    "trainer": partial(trainer, bf16=False),
    "trainer-bf16": partial(trainer, bf16=True),
    "essay": essay,
    "nanogpt": nanogpt,
    "nanogpt-bf16": partial(nanogpt, bf16=True),
}
