"""The engine and the peers it is held against: an arm trains as a `Job` says and returns the transformers model.

It tells `job.meter` of every batch and step. All arms have one base model, one set of rows, one batch size, schedule
and number of steps.
"""

import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import fields
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.job import Job, Rows, counted
from bonafide.engine.engine import Engine
from bonafide.engine.hyperparameters import Recipe
from bonafide.engine.process_group import ProcessGroup
from bonafide.tasks.classification import train as training
from bonafide.training.vocabulary_pruning import PrunedVocabulary

GROUP = 50  # batches that Trainer sorts by length together, from 6,400 rows of batches of 32 on


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
            warmup_steps=job.warmup,
            weight_decay=job.recipe.weight_decay,
            max_grad_norm=job.recipe.max_grad_norm,
            seed=job.seed,
            use_cpu=job.device == "cpu",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            **{"lr_scheduler_type": "linear"} | extra,
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
    vocabulary = PrunedVocabulary(model, [job.tokens])
    tokens = vocabulary.translate(job.tokens)
    epochs = -(-job.steps * job.recipe.batch_size // len(tokens))
    wanted: dict[str, Any] = {known.name: getattr(job.recipe, known.name, None) for known in fields(Recipe)}
    own = {"epochs": epochs, "exact": exact, "seed": job.seed, "gradient_accumulation_steps": job.recipe.accumulation}
    recipe = Recipe(**wanted | own | changed)
    running = Engine(model, tokens, training, recipe, world, lambda _: nullcontext())
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


def spread(job: Job, exact: bool) -> ProcessGroup:  # noqa: FBT001
    """Join `job.processes` on gloo, the machine's threads shared out; forked before any work."""
    if job.processes == 1:
        return ProcessGroup(exact=exact)
    meeting = Path(tempfile.mkdtemp()) / "store"
    rank = next((n for n in range(1, job.processes) if os.fork() == 0), 0)
    torch.set_num_threads(max(1, torch.get_num_threads() // job.processes))
    torch.distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=job.processes)
    return ProcessGroup(rank, job.processes, exact)


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
