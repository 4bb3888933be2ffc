"""A base model in miniature of every text type that transformers can classify with: configuration, weights, tokenizer.

A type that is not named here is shrunk by its fields' names like all others, and gets the tokenizer of its kind.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

NO_TEXTS = {
    "gemma3": "images",
    "layoutlm": "places on a page",
    "layoutlmv2": "images and places on a page",
    "layoutlmv3": "images and places on a page",
    "lilt": "places on a page",
    "markuplm": "marked-up pages",
    "modernvbert": "images",
    "perceiver": "bytes of any modality",
    "qwen3_5": "images",
    "t5gemma2": "images",
    "tapas": "tables",
    "ultravbert": "images",
}
"""Types of the mapping that read more than a text, and what."""

TYPES = [name for name in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES if name not in NO_TEXTS]
POSITIONS = 64
WIDTH, HEADS = 32, 4
SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size"), WIDTH),
    **dict.fromkeys(("word_embed_proj_dim", "pooler_hidden_size", "attention_hidden_size", "true_hidden_size"), WIDTH),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), HEADS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), HEADS),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("head_dim", "d_kv", "d_head", "kv_channels", "attention_head_dim", "attention_head_size"), 8),
    **dict.fromkeys(("intermediate_size", "d_ff", "dff", "d_inner", "ffn_dim", "hidden_dim", "ffn_hidden_size"), 48),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "moe_intermediate_size", "feed_forward_size"), 48),
    **dict.fromkeys(("shared_expert_intermediate_size",), 48),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), POSITIONS),
    **dict.fromkeys(("initializer_range", "init_std"), 0.3),  # so that texts differ in what they give
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk"), 2),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "gated_norm_rank"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "rotary_dim"), 8),
    **dict.fromkeys(("sliding_window", "local_attention", "window_size"), 16),
    **dict.fromkeys(("n_group", "topk_group", "index_n_heads"), 2),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 2),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "index_head_dim"), 8),
}
"""By a field's name, what it is in miniature; other fields stay as the library has them."""
PART = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": HEADS, "num_key_value_heads": 2}
TWICE = {"attention_hidden_size": 2 * WIDTH, "attention_head_dim": 2 * WIDTH // HEADS}
HYBRID = ["linear_attention", "hybrid", "hybrid"]
OTHER: dict[str, dict[str, Any]] = {
    "bigbird_pegasus": {"block_size": 8},
    "big_bird": {"block_size": 8},
    "canine": {"num_hash_buckets": 64, "num_hidden_layers": 2},
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 1e4} for kind in ("sliding_attention", "full_attention")
        },
    },
    "deepseek_v2": {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "num_experts_per_tok": 2},
    "funnel": {"architectures": ["FunnelModel"], "block_sizes": [1, 1], "num_decoder_layers": 1},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4},
    "longformer": {"attention_window": [16, 16]},
    "luke": {"entity_vocab_size": 8, "entity_emb_size": 16},
    "ministral": {"head_dim": 8},
    "mistral4": {"head_dim": 16},
    "mobilebert": {"intra_bottleneck_size": 32, "num_feedforward_networks": 1},
    "nemotron": {"num_key_value_heads": 2},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"]},
    "reformer": {"axial_pos_embds_dim": [16, 16], "axial_pos_shape": [8, 8], "attn_layers": ["local", "lsh"]},
    "roc_bert": {"pronunciation_vocab_size": 40, "shape_vocab_size": 40},
    "xmod": {"default_language": "en_XX"},
    "zamba": {**TWICE, "layers_block_type": HYBRID, "num_hidden_layers": 3, "mamba_dt_rank": 4},
    "zamba2": {**TWICE, "layers_block_type": HYBRID, "num_hidden_layers": 3, "n_mamba_heads": 2, "mamba_headdim": 32},
}
"""By type, the fields that its shape asks for."""

SPECIAL = {
    "wordpiece": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "roberta": {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"},
    "bytes": {"eos": "<|endoftext|>"},
    "unigram": {"pad": "<pad>", "eos": "</s>", "unk": "<unk>", "bos": "<s>", "mask": "<mask>"},
}
"""By kind of tokenizer, its special tokens in the order of their ids; `bytes` has no token to pad with."""
WORDS = 160
LIKE_ROBERTA = ("esmc", "eurobert", "flaubert", "luke", "modernbert-decoder", "xlm")


def kind(name: str) -> str:
    """The kind of tokenizer that a type's models have."""
    known = str(TOKENIZER_MAPPING_NAMES.get(name))
    if known in ("RobertaTokenizer", "MvpTokenizer", "DebertaTokenizer", "MPNetTokenizer") or name in LIKE_ROBERTA:
        return "roberta"
    if name == "umt5" or known.startswith(
        ("T5", "XLMRoberta", "MBart", "PLBart", "Albert", "Camembert", "BigBird", "Gemma", "XLNet")
    ):
        return "unigram"
    if known in ("RemBertTokenizer", "ReformerTokenizer", "FNetTokenizer", "DebertaV2Tokenizer", "RoFormer") or (
        name == "bigbird_pegasus"
    ):
        return "unigram"
    encoders = ("modernbert", "nystromformer", "xlm-roberta-xl", "esm", "funnel", "roformer")
    return "wordpiece" if "Bert" in known or name in encoders else "bytes"


def tokenizer(sort: str, texts: Sequence[str]) -> Tokenizer:
    """A tokenizer of a kind, trained on texts."""
    special = list(SPECIAL[sort].values())
    if sort == "wordpiece":
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        trainer: Any = trainers.WordPieceTrainer(vocab_size=WORDS, special_tokens=special, show_progress=False)
    elif sort == "unigram":
        made = Tokenizer(models.Unigram())
        made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=WORDS,
            special_tokens=special,
            unk_token="<unk>",  # noqa: S106
            show_progress=False,
        )
    else:
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=WORDS + 256, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    made.train_from_iterator(texts, trainer)
    around = {"wordpiece": ("[CLS] ", " [SEP]"), "roberta": ("<s> ", " </s>"), "unigram": ("", " </s>")}.get(sort)
    if around:
        ids = [(token, made.token_to_id(token)) for token in special]
        made.post_processor = processors.TemplateProcessing(
            single=f"{around[0]}$A{around[1]}", pair=f"{around[0]}$A $B:1{around[1]}", special_tokens=ids
        )
    return made


def save_tokenizer(folder: Path, sort: str, texts: Sequence[str], **settings: Any) -> dict[str, int | None]:
    """Save a tokenizer as transformers does; return the ids that go into config.json."""
    made = tokenizer(sort, texts)
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    tokens = {f"{role}_token": token for role, token in SPECIAL[sort].items()}
    content = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1_000_000, **tokens, **settings}
    if sort != "wordpiece":
        content["model_input_names"] = ["input_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(content), encoding="utf-8")
    ids = {f"{role}_token_id": made.token_to_id(token) for role, token in SPECIAL[sort].items()}
    return {"eos_token_id": ids.get("sep_token_id"), **ids}


def small(defaults: Any, name: str, words: int, ids: Mapping[str, int | None]) -> dict[str, Any]:
    """The options that make a configuration of this type small."""
    fields = defaults.to_dict()
    options = {key: value for key, value in SMALL.items() if isinstance(fields.get(key), int | float)}
    if fields.get("num_key_value_heads") == fields.get("num_attention_heads"):
        options = {key: HEADS if key == "num_key_value_heads" else value for key, value in options.items()}
    options |= {"vocab_size": words} if "vocab_size" in fields else {}
    roles = [key for key in fields if key.endswith("_token_id") and not key.startswith("forced")]
    options |= {key: ids.get(key, None if key == "pad_token_id" else ids["eos_token_id"]) for key in roles}
    if fields["is_encoder_decoder"]:
        options["decoder_start_token_id"] = ids["pad_token_id"]
    if name == "t5gemma":
        part = PART | {"vocab_size": words, "intermediate_size": 48, "head_dim": 8}
        options |= {"encoder": part, "decoder": part}
    return options | OTHER.get(name, {})


def build_config(name: str, words: int, ids: Mapping[str, int | None], **changes: Any) -> Any:
    """A configuration of a type, small."""
    build = CONFIG_MAPPING[name]
    return build(**(small(build(), name, words, ids) | changes))


def save_python_tokenizer(folder: Path, name: str, texts: Sequence[str]) -> dict[str, int]:
    """Save a tokenizer that is Python code, reading characters; return the ids that go into config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    characters = sorted({character for text in texts for character in text if character.strip()})
    settings: dict[str, Any] = {"tokenizer_class": name, "model_max_length": 1_000_000}
    if name == "PhobertTokenizer":
        counted = [f"{character}{end} 1" for character in characters for end in ("@@", "")]
        (folder / "vocab.txt").write_text("\n".join(counted) + "\n", encoding="utf-8")
        (folder / "bpe.codes").write_text("", encoding="utf-8")
        ids = {"bos_token_id": 0, "cls_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
    elif name == "BertJapaneseTokenizer":
        tokens = [*SPECIAL["wordpiece"].values(), *characters]
        (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
        settings |= {"word_tokenizer_type": "basic", "subword_tokenizer_type": "character"}
        ids = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
    else:
        ids = {"pad_token_id": 0, "bos_token_id": 0xE000, "eos_token_id": 0xE001}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return ids


PYTHON_ONLY = {"canine": "CanineTokenizer"}
"""Types whose tokenizer is Python code."""


def build_base(
    folder: Path,
    name: str,
    texts: Sequence[str],
    *,
    head: bool = False,
    python: str = "",
    dtype: str = "",
    **changes: Any,
) -> None:
    """Save a random model of a type, without a head or with one, and its tokenizer, of Python if one is named."""
    python = python or PYTHON_ONLY.get(name, "")
    ids = save_python_tokenizer(folder, python, texts) if python else save_tokenizer(folder, kind(name), texts)
    config = build_config(name, WORDS + 264, ids, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = (AutoModelForSequenceClassification if head else AutoModel).from_config(config)
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.data.add_(0.1 * torch.randn_like(parameter))  # so that texts differ in what they give
        model.to(getattr(torch, dtype or "float32")).save_pretrained(folder)
