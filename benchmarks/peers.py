"""One training run in a process of its own: the engine and the peers it is held against, as `benchmarks.training` runs.

An arm is a function of a `Job` that trains, tells `job.meter` of every batch and step, and returns the transformers
model. All arms have one base model, one set of rows, one batch size, schedule and number of steps.
"""

import gc
import json
import math
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader

from bonafide import environment, ragged
from bonafide.params import Train, load_params
from bonafide.plan import Recipe
from bonafide.ragged import Tokens
from bonafide.training import Engine
from bonafide.vocabulary import Vocabulary
from bonafide.world import World
from tasks import classification

ROOT = Path(__file__).parents[1]
GROUP = 50  # batches that Trainer sorts by length together, from 6,400 rows of batches of 32 on
Figures = dict[str, Any]
Example = dict[str, Any]
"""What HF's collators take: `input_ids`, `attention_mask` and `labels` of one text."""


@dataclass(frozen=True)
class Spec:
    """What the parent process asks for."""

    arm: str
    data: Path
    """A project in which tokenize was run."""
    steps: int
    """Optimiser steps, the untimed first ones included."""
    warmup: int = 4
    """Steps before the clock starts."""
    rows: int | None = None
    """The first so many of a fixed shuffle of the training rows, None: all, in their order."""
    tokens: Path | None = None
    """A folder of other training rows, with labels 0 and 1."""
    seed: int = 1
    device: str = "cpu"
    score: bool = False
    """Whether to score the test split."""
    processes: int = 1


@dataclass
class Meter:
    """The clock. An arm calls `batch` once per batch, in order, and `step` after each optimiser step."""

    device: str
    warmup: int
    steps: int
    tokens: list[int] = field(default_factory=list)
    losses: list[Any] = field(default_factory=list)
    times: dict[int, float] = field(default_factory=dict)

    def batch(self, tokens: int) -> None:
        """Count a batch's real tokens."""
        self.tokens.append(tokens)

    def step(self, loss: Any) -> None:
        """Note the end of a step and its loss: a number or a detached tensor, which is read after the run."""
        self.losses.append(loss)
        if (step := len(self.losses)) in (1, self.warmup, self.steps):
            if self.device == "cuda":
                torch.cuda.synchronize()
            self.times[step] = time.perf_counter()

    def figures(self, began: float) -> Figures:
        """Speed between the last warm-up step and the last step, and losses."""
        assert len(self.losses) == self.steps, f"{len(self.losses)} steps of {self.steps}"
        losses = [float(loss) for loss in self.losses]
        seconds = self.times[self.steps] - self.times[self.warmup]
        third = max(1, len(losses) // 3)
        return {
            "tokens_per_second": sum(self.tokens[self.warmup : self.steps]) / seconds,
            "tokens_per_step": float(np.mean(self.tokens[self.warmup : self.steps])),
            "set_up_s": self.times[1] - began,
            "ready_s": self.times[self.warmup] - began,
            "steps": self.steps,
            "first_loss": losses[0],
            "early_loss": float(np.mean(losses[:third])),
            "late_loss": float(np.mean(losses[-third:])),
        }


@dataclass(frozen=True)
class Job:
    """What an arm trains on."""

    base: Path
    """The base model's folder."""
    processor: Any
    """The tokenizer."""
    labels: Sequence[str]
    tokens: Tokens
    """The training rows."""
    recipe: Train
    """The `train` section of params.yaml; its `epochs` does not count, `steps` does."""
    max_length: int
    steps: int
    """Optimiser steps; the schedule ends with the last. Past the end of the rows another epoch begins."""
    seed: int
    device: str
    processes: int
    meter: Meter
    texts: Callable[[], list[str]]
    """The rows' texts, for a peer that tokenizes as it goes."""

    @property
    def warmup(self) -> int:
        """Steps of rising learning rate."""
        return max(1, round(self.steps * self.recipe.warmup_ratio))

    def model(self) -> Any:
        """The base model with a fresh head of this seed, without dropout of attention probabilities."""
        torch.manual_seed(self.seed)
        return classification.build_model(self.base, self.labels, self.recipe.dropout)


class Rows(torch.utils.data.Dataset[Example]):
    """Rows as HF's collators want them; padded to `length` tokens if it is not 0."""

    def __init__(self, tokens: Tokens, length: int = 0, padding: int = 0) -> None:
        """Keep the arrays as they are."""
        self.tokens, self.length, self.padding = tokens, length, padding

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.tokens)

    def __getitem__(self, index: int) -> Example:
        """One row."""
        ids = self.tokens.input_ids[self.tokens.offsets[index] : self.tokens.offsets[index + 1]].tolist()
        mask, lacks = [1] * len(ids), max(0, self.length - len(ids))
        return {
            "input_ids": ids + [self.padding] * lacks,
            "attention_mask": mask + [0] * lacks,
            "labels": int(self.tokens.labels[index]),
        }


def counted(job: Job, collate: Callable[[list[Example]], Any]) -> Callable[[list[Example]], Any]:
    """`collate`, with the batch's real tokens counted."""

    def collated(examples: list[Example]) -> Any:
        job.meter.batch(sum(sum(example["attention_mask"]) for example in examples))
        return collate(examples)

    return collated


def fit(job: Job, trainer_class: Any, arguments_class: Any, extra: dict[str, Any], **parts: Any) -> None:
    """Run a Trainer of transformers or of a library above it on the job's recipe."""
    from transformers import PrinterCallback, TrainerCallback

    class Measured(trainer_class):  # type: ignore[misc]
        def training_step(self, *arguments: Any, **options: Any) -> Any:
            self.step_loss = super().training_step(*arguments, **options)
            return self.step_loss

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_arguments: Any, **_options: Any) -> None:
            job.meter.step(running.step_loss)

    with tempfile.TemporaryDirectory() as folder:
        arguments = arguments_class(
            output_dir=folder,
            per_device_train_batch_size=job.recipe.batch_size,
            max_steps=job.steps,
            learning_rate=job.recipe.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=job.warmup,
            weight_decay=job.recipe.weight_decay,
            max_grad_norm=job.recipe.max_grad_norm,
            seed=job.seed,
            use_cpu=job.device == "cpu",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            **extra,
        )
        running = Measured(args=arguments, callbacks=[Clock()], **parts)
        running.remove_callback(PrinterCallback)
        running.train()


def defaults(job: Job) -> Any:
    """The recipe of run_classification.py at its defaults: Trainer, every text padded to max_seq_length."""
    from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments, default_data_collator

    torch.manual_seed(job.seed)
    model = AutoModelForSequenceClassification.from_pretrained(job.base, num_labels=len(job.labels), dtype="float32")
    rows = Rows(job.tokens, job.max_length, job.processor.pad_token_id)
    collate = counted(job, default_data_collator)
    fit(job, Trainer, TrainingArguments, {}, model=model, train_dataset=rows, data_collator=collate)
    return model


def trainer(job: Job, bf16: bool = False) -> Any:  # noqa: FBT001, FBT002 - the one question
    """Trainer at its best: padding per batch, batches of like lengths, fused AdamW, bf16 on a GPU or where asked."""
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments, trainer_pt_utils

    # of a whole table it sorts 50 batches together, of few rows a quarter: 768 would be padded by 25 % instead of 6
    whole = partial(trainer_pt_utils.get_length_grouped_indices, mega_batch_mult=GROUP)
    trainer_pt_utils.get_length_grouped_indices = whole
    model = job.model()
    best = {
        "train_sampling_strategy": "group_by_length",
        "optim": "adamw_torch_fused",
        "logging_nan_inf_filter": False,
        "bf16": bf16 or job.device == "cuda",
    }
    collate = counted(job, DataCollatorWithPadding(job.processor))
    fit(job, Trainer, TrainingArguments, best, model=model, train_dataset=Rows(job.tokens), data_collator=collate)
    return model


def loop(job: Job) -> Any:
    """The PyTorch loop of HF's tutorial, fp32: shuffled batches padded each, AdamW and a linear schedule."""
    from transformers import DataCollatorWithPadding, get_linear_schedule_with_warmup

    model = job.model().to(job.device)
    collate = counted(job, DataCollatorWithPadding(job.processor))
    loader = DataLoader(Rows(job.tokens), batch_size=job.recipe.batch_size, shuffle=True, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=job.recipe.learning_rate, weight_decay=job.recipe.weight_decay)
    schedule = get_linear_schedule_with_warmup(optimizer, job.warmup, job.steps)
    model.train()
    for _, batch in zip(range(job.steps), endless(loader), strict=False):
        loss = model(**{name: tensor.to(job.device) for name, tensor in batch.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), job.recipe.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        job.meter.step(loss.detach())
    return model


def endless(loader: Any) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from loader


def sentence_transformers(job: Job) -> Any:
    """CrossEncoderTrainer with cross-entropy; its own loss wants pairs, so single texts come with one of five lines.

    It tokenizes every batch as it goes. SetFit is not comparable: it trains on pairs drawn from the texts, then a
    classifier on frozen embeddings.
    """
    try:
        import datasets  # type: ignore[import-not-found,import-untyped,unused-ignore]
        from sentence_transformers import cross_encoder as library  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise ImportError(f"no {error.name}: pip install sentence-transformers datasets") from None

    torch.manual_seed(job.seed)
    options = {"attention_probs_dropout_prob": 0.0}
    encoder = library.CrossEncoder(
        str(job.base), num_labels=len(job.labels), max_length=job.max_length, device=job.device, config_kwargs=options
    )

    class Loss(torch.nn.Module):
        def forward(self, inputs: list[list[str]], labels: torch.Tensor, **_options: Any) -> torch.Tensor:
            batch = encoder.preprocess(inputs[0])
            job.meter.batch(int(batch["attention_mask"].sum()))
            batch = {name: part.to(job.device) if torch.is_tensor(part) else part for name, part in batch.items()}
            return torch.nn.functional.cross_entropy(encoder(batch)["scores"], labels)

    rows = datasets.Dataset.from_dict({"text": job.texts(), "label": job.tokens.labels.tolist()})
    best = {"optim": "adamw_torch_fused", "logging_nan_inf_filter": False, "bf16": job.device == "cuda"}
    parts = {"model": encoder, "train_dataset": rows, "loss": Loss()}
    fit(job, library.CrossEncoderTrainer, library.CrossEncoderTrainingArguments, best, **parts)
    return encoder.model


def engine(job: Job, exact: bool, **changed: Any) -> Any:  # noqa: FBT001 - the one question
    """The engine of this project: exact as in params.yaml, or fast (one shard a process, summed as it comes)."""
    world = spread(job, exact)
    model = job.model().to(job.device)
    vocabulary = Vocabulary(model, [job.tokens], job.processor.pad_token_id or 0)
    tokens = vocabulary.translate(job.tokens)
    epochs = -(-job.steps * job.recipe.batch_size // len(tokens))
    wanted: dict[str, Any] = {known.name: getattr(job.recipe, known.name, None) for known in fields(Recipe)}
    recipe = Recipe(**wanted | {"epochs": epochs, "exact": exact, "seed": job.seed} | changed)
    running = Engine(model, tokens, classification.loss, recipe, world, lambda _: nullcontext())
    gc.freeze()
    for step in islice(running.steps(), job.steps):
        if world.rank == 0:
            job.meter.batch(step.tokens)
            job.meter.step(step.loss.detach())
    if world.rank > 0:
        os._exit(0)
    vocabulary.restore()
    model.set_attn_implementation("sdpa")
    return model


def spread(job: Job, exact: bool) -> World:  # noqa: FBT001
    """Join `job.processes` on gloo, the machine's threads shared out; forked before any work."""
    if job.processes == 1:
        return World(exact=exact)
    meeting = Path(tempfile.mkdtemp()) / "store"
    rank = next((n for n in range(1, job.processes) if os.fork() == 0), 0)
    torch.set_num_threads(max(1, torch.get_num_threads() // job.processes))
    torch.distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=job.processes)
    return World(rank, job.processes, exact)


ARMS: dict[str, Callable[[Job], Any]] = {
    "defaults": defaults,
    "trainer": trainer,
    "trainer-bf16": partial(trainer, bf16=True),
    "loop": loop,
    "sentence-transformers": sentence_transformers,
    "exact": partial(engine, exact=True),
    "fast": partial(engine, exact=False),
    "exact-fp32": partial(engine, exact=True, precision="fp32"),
}


def training_rows(spec: Spec) -> Tokens:
    """The rows that a spec asks for."""
    tokens = ragged.read(spec.tokens or spec.data / "data/tokenized/train")
    if spec.rows is None:
        return tokens
    chosen = np.random.default_rng(0).permutation(len(tokens))[: spec.rows]
    texts = [tokens.input_ids[tokens.offsets[row] : tokens.offsets[row + 1]].tolist() for row in chosen]
    return ragged.pack(texts, tokens.labels[chosen], tokens.ids[chosen].tolist())


def texts_of(data: Path, tokens: Tokens) -> list[str]:
    """The texts that `tokens` was made of."""
    table = pq.read_table(data / "data/validated/train.parquet", columns=["id", "text"])
    texts = dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
    return [texts[row] for row in tokens.ids.tolist()]


def measure(spec: Spec) -> Figures:
    """Run an arm in this process and return its figures; peak memory is the process's, or the GPU's."""
    params = load_params(ROOT / "params.yaml")
    torch.set_num_threads(params.threads)
    tokenized = spec.data / "data/tokenized"
    labels = json.loads((tokenized / "labels.json").read_text(encoding="utf-8"))
    processor = classification.load_processor(tokenized / "processor")
    began = time.perf_counter()
    tokens = training_rows(spec)
    job = Job(
        base=spec.data / "models/base",
        processor=processor,
        labels=labels,
        tokens=tokens,
        recipe=params.train,
        max_length=params.tokenize.max_length,
        steps=spec.steps,
        seed=spec.seed,
        device=spec.device,
        processes=spec.processes,
        meter=Meter(spec.device, spec.warmup, spec.steps),
        texts=partial(texts_of, spec.data, tokens),
    )
    model = ARMS[spec.arm](job)
    figures = job.meter.figures(began) | {"peak_mb": peak_mb(spec.device), "weights": token_weights(model)}
    figures["gemm_gflops"] = gemm_gflops(model.config, figures["tokens_per_step"], spec.device)
    if spec.score:
        figures["f1_macro"] = f1_macro(model, ragged.read(tokenized / "test"), processor)
    return figures | {"machine": environment.fingerprint(params.threads)}


@torch.inference_mode()
def f1_macro(model: Any, tokens: Tokens, processor: Any) -> float:
    """The score of a model on a split, in one way for all arms: fp32, 64 texts at a time, padded."""
    from transformers import DataCollatorWithPadding

    model.eval()
    loader = DataLoader(Rows(tokens), batch_size=64, collate_fn=DataCollatorWithPadding(processor))
    parts = []
    for batch in loader:
        logits = model(**{name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}).logits
        parts.append(logits.double().softmax(dim=-1).cpu().numpy())
    return classification.score(tokens.labels, np.concatenate(parts))["f1_macro"]


def peak_mb(device: str) -> float:
    """The most memory this process held so far."""
    if device == "cuda":
        return float(torch.cuda.max_memory_reserved() / 1e6)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def token_weights(model: Any) -> int:
    """Weights of the matrices that every token goes through: no embeddings, pooler and head."""
    encoder = getattr(model, model.base_model_prefix)
    linear = (part for name, part in encoder.named_modules() if "pooler" not in name)
    return sum(part.weight.numel() for part in linear if isinstance(part, torch.nn.Linear))


def gemm_gflops(config: Any, tokens_per_step: float, device: str) -> float:
    """The best of ten rates of torch.mm: fp32 at the job's own shape on a CPU, large bf16 ones on a GPU."""
    rows, inner, columns = round(tokens_per_step), config.hidden_size, getattr(config, "intermediate_size", 0)
    if device == "cuda":
        rows = inner = columns = 8192
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    left, right = (torch.randn(shape, device=device, dtype=kind) for shape in ((rows, inner), (inner, columns)))
    out = torch.empty((rows, columns), device=device, dtype=kind)
    best = math.inf
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(10):
            torch.mm(left, right, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - began) / 10)
    return float(2 * rows * inner * columns / best / 1e9)
