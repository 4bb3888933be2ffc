"""A base model as transformers would load and run it, tried out without its weights, so that fetch tells what fails.

The weights are zeros that nobody has written, so that a model of any size takes next to no memory. The library's own
loader says which of them lack, after its renaming; and the library's own forward says how long a text may be.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bonafide.pretrained import heads, tokenizer
from bonafide.pretrained.model_files import weights
from bonafide.pretrained.padding import Texts, padded
from bonafide.project.errors import InputError

TRIED = 4 * 2**30  # bytes of weights up to which a model is also loaded and run in earnest
IMAGE_SIZE = 224  # pixels, of a model that takes any
REASON = 160  # characters of an error of the library that a line has place for


def check_loads(folder: Path, head: str) -> None:
    """Raise InputError unless transformers can load, run and train this base model with such a head, on texts alone."""
    heads.declared_config(folder, head)
    processor = check_tokenizer(folder)
    model, info = hollow(folder, head)
    check_weights(model, info)
    rows = _rows(model)
    tokens = 1 + max(processor.get_vocab().values(), default=0) if rows else 0
    if tokens > rows:
        raise InputError(
            f"base model: the tokenizer has {tokens:,} tokens, the embedding {rows:,} rows: they do not belong together"
        )
    texts, _ = _read(processor)
    model.train()  # some architectures can only be evaluated
    reason = _fault(model, texts)
    if reason:
        raise InputError(f"base model: {model.config.model_type} cannot be trained on texts alone: {reason}")
    if sum(file.stat().st_size for file in weights(folder)) <= TRIED:
        check_chance(folder, head, texts)


def check_reads_images(folder: Path, head: str) -> None:
    """Raise InputError unless transformers can load, run and train this base model with such a head, on images."""
    model, info = hollow(folder, head)
    check_weights(model, info)
    size = getattr(heads.of_images(model.config), "image_size", None)
    height, width = size if isinstance(size, (list, tuple)) else (size or IMAGE_SIZE, size or IMAGE_SIZE)
    pixels = torch.zeros(2, 3, height, width)
    try:
        with _silent(), torch.no_grad():
            shape = tuple(model.train()(pixel_values=pixels).logits.shape)
    except Exception as error:  # noqa: BLE001 - whatever an architecture's own code raises
        shape, reason = (), reason_of(error)
    else:
        reason = f"it gives {shape} for 2 images"
    if shape != (2, model.config.num_labels):
        raise InputError(f"base model: {model.config.model_type} cannot be trained on images: {reason}")


def check_weights(model: Any, info: dict[str, Any]) -> None:
    """Raise InputError where the encoder's weights lack, or have other shapes; the head's do not matter."""
    shapes = {name: sides for name, *sides in info["mismatched_keys"]}
    for name in heads.of_encoder(model, shapes):
        theirs, ours = map(_shape, shapes[name])
        raise InputError(
            f"base model: the weights have {name} as {theirs}, config.json declares {ours}:"
            " they are of another architecture"
        )
    lacking = heads.missing(model, info)
    if lacking:
        kind = model.config.model_type
        raise InputError(f"base model: not the weights of a {kind}: {len(lacking)} lack, {lacking[0]} first")


def check_chance(folder: Path, head: str, texts: Texts) -> None:
    """Raise InputError where what a model gives for a text depends on chance, or not on the text."""
    config = heads.read_config(folder, head)
    model, _ = heads.build(config, head, **heads.fresh(config, head, folder))
    first, second = (_logits(model.eval(), texts) for _ in range(2))
    kind = model.config.model_type
    if not torch.equal(first, second):
        raise InputError(f"base model: {kind} draws by chance also when it predicts: no text has one probability")
    if torch.equal(first[0], first[1]):
        raise InputError(
            f"base model: {kind} gives all texts the same on this machine: does it need a kernel for CUDA?"
        )


def hollow(folder: Path, head: str) -> tuple[Any, dict[str, Any]]:
    """The model of a folder with zeros for weights, and what the library says of them; raise InputError."""
    from safetensors import safe_open

    state: dict[str, torch.Tensor] = {}
    for file in weights(folder):
        with safe_open(file, "pt") as found:
            shapes = {name: found.get_slice(name) for name in found.keys()}  # noqa: SIM118 - it is no dictionary
            state |= {name: _zeros(one.get_shape(), one.get_dtype()) for name, one in shapes.items()}
    config = heads.read_config(folder, head)
    with _silent():
        try:
            return heads.build(config, head, None, state_dict=state, ignore_mismatched_sizes=True)
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an architecture's own code finds wrong with its config
            raise InputError(f"base model: {config.model_type} cannot be built: {reason_of(error)}") from None


def _zeros(shape: list[int], dtype: str) -> torch.Tensor:
    kind = np.int64 if dtype.startswith(("I", "U")) else np.bool_ if dtype == "BOOL" else np.float32
    return torch.from_numpy(np.zeros(shape, dtype=kind))  # pages that nobody writes to take no memory


def check_tokenizer(folder: Path) -> Any:
    """The tokenizer; raise InputError where it does not load or does not read a text."""
    try:
        processor = tokenizer.load(folder)
        _read(processor)
    except ImportError as error:
        raise InputError(f"base model: its tokenizer needs a package that is not there: {reason_of(error)}") from None
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - tokenizers are code of their own, and files of others
        check_files(folder)
        raise InputError(f"base model: its tokenizer does not load: {reason_of(error)}") from None
    if processor.vocab_files_names:
        check_files(folder, processor.vocab_files_names.values())  # without them the library builds an empty one
    return processor


def _read(processor: Any) -> tuple[list[list[int]], Any]:
    return tokenizer.encode(tokenizer.PROBE, processor, tokenizer.PROBE_LENGTH)


def check_files(folder: Path, names: Iterable[str] = ()) -> None:
    """Raise InputError where no file of a tokenizer is there."""
    patterns = ("tokenizer.json", "vocab*", "*.model", *names)
    if not any(any(folder.glob(pattern)) for pattern in patterns):
        raise InputError("base model: no tokenizer (tokenizer.json, vocab.txt, vocab.json or *.model)")


def positions(folder: Path, head: str, wanted: int) -> int:
    """The most tokens that the model takes, up to `wanted`: tried out, since tables begin at various numbers."""
    model, _ = hollow(folder, head)
    text = tokenizer.probe(folder)[0]
    declared = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    most = min(wanted, declared) if isinstance(declared, int) and declared > 0 else wanted
    works, fails = 0, most + 1
    trial = most
    while fails - works > 1:
        if _fault(model.eval(), [np.resize(text, trial).tolist()]):
            fails = trial
        else:
            works = trial
        trial = (works + fails) // 2
    return works


def _fault(model: Any, texts: Texts) -> str:
    """Why the model does not take these texts, padded, or nothing."""
    try:
        with _silent():
            shape = tuple(_logits(model, texts).shape)
    except Exception as error:  # noqa: BLE001 - whatever an architecture's own code raises
        return reason_of(error)
    vocabulary = getattr(model.config.get_text_config(), "vocab_size", None)  # CANINE has none
    words = (len(texts), max(map(len, texts)), vocabulary)  # of a language model
    fits = shape in ((len(texts), model.config.num_labels), words)
    return "" if fits else f"it gives {shape} for {len(texts)} texts"


@torch.no_grad()
def _logits(model: Any, texts: Texts) -> torch.Tensor:
    inputs = padded(model, texts)
    if model.config.is_encoder_decoder and model.can_generate():
        inputs["decoder_input_ids"] = inputs["input_ids"]
    return model(**inputs).logits  # type: ignore[no-any-return]


def reason_of(error: BaseException) -> str:
    """An error of the library in one line."""
    line = " ".join(str(error).split())
    return f"{type(error).__name__}: {line[:REASON]}{'...' if len(line) > REASON else ''}"


def _rows(model: Any) -> int:
    """The rows of the word embeddings; 0 where there are none, as of a model that reads characters."""
    try:
        return int(getattr(model.get_input_embeddings(), "num_embeddings", 0))
    except (NotImplementedError, AttributeError):
        return 0


def _shape(sides: Any) -> str:
    return " x ".join(map(str, sides))


@contextmanager
def _silent() -> Iterator[None]:
    """Without the library's own words about what is said in one line here."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
