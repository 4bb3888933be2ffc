"""A base model in miniature of every type that transformers can classify images with: config, weights, preprocessor.

A type that is not named here is shrunk by its fields' names like all others. Images are 32 x 32 pixels.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModel
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from bonafide.pretrained import heads
from bonafide.project.files import write_json

NO_IMAGES = {
    "dinat": "a package that is not there: natten",
    "imagegpt": "colours as tokens",
    "pp_lcnet": "images, but transformers gives no logits of it",
    "shieldgemma2": "texts beside images",
    "siglip2": "patches of images of any shape",
    "timm_wrapper": "a package that is not there: timm",
}
"""Types of the mapping that are not trained, and what they need or read; tests show what each says."""

TYPES = [name for name in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES if name not in NO_IMAGES]
WHOLE = ("perceiver", "pp_lcnet", "shieldgemma2")  # never without a head
SIZE = 32  # pixels
MEAN, DEVIATION = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]

SMALL: dict[str, Any] = {
    "image_size": SIZE,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "pooler_output_size": 32,
    "drop_path_rate": 0.2,  # so that chance is there, which the library's defaults often lack
    "projection_dim": 16,
}
"""By a field's name, what it is in miniature where it is one number; other fields stay as the library has them."""

SWIN = {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "patch_size": 4}
POOLED = {"num_encoder_blocks": 2, "depths": [1, 1], "hidden_sizes": [8, 16], "strides": [4, 2]}
PYRAMID = POOLED | {"num_attention_heads": [1, 2], "mlp_ratios": [2, 2]}
CONVNEXT = {"num_stages": 2, "hidden_sizes": [8, 16], "depths": [1, 2], "patch_size": 4}
TOWER = {key: SMALL[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")}
VISION = {"vision_config": TOWER | {"image_size": SIZE, "patch_size": 8}}
TEXT = {"vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
TOWERS = VISION | {"text_config": TOWER | TEXT}
SHIFTS = {"embed_dim": 16, "depths": [1, 2], "hidden_sizes": [32, 32], "focal_levels": [2, 2], "focal_windows": [3, 3]}
OTHER: dict[str, dict[str, Any]] = {
    "bit": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "num_groups": 4},
    "clip": TOWERS,
    "convnext": CONVNEXT,
    "convnextv2": CONVNEXT,
    "cvt": {"embed_dim": [8, 16, 16], "num_heads": [1, 2, 2], "depth": [1, 2, 3], "drop_path_rate": [0.0, 0.1, 0.2]},
    "donut-swin": SWIN,
    "efficientnet": {
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "kernel_sizes": [3, 5],
        "in_channels": [32, 8],
        "out_channels": [8, 16],
        "strides": [1, 2],
        "num_block_repeats": [1, 2],
        "expand_ratios": [1, 4],
        "hidden_dim": 1280,
    },
    "focalnet": SHIFTS | {"patch_size": 4},
    "hgnet_v2": {
        "embedding_size": 8,
        "hidden_sizes": [16, 32],
        "depths": [1, 1],
        "stem_channels": [3, 8, 8],
        "stage_in_channels": [8, 16],
        "stage_mid_channels": [8, 8],
        "stage_out_channels": [16, 32],
        "stage_num_blocks": [1, 1],
        "stage_downsample": [False, True],
        "stage_downsample_strides": [2, 2],
        "stage_light_block": [False, True],
        "stage_kernel_size": [3, 3],
        "stage_numb_of_layers": [2, 2],
    },
    "hiera": {
        "embed_dim": 16,
        "image_size": [SIZE, SIZE],
        "depths": [1, 1],
        "num_heads": [1, 2],
        "num_query_pool": 1,
        "masked_unit_size": [4, 4],
        "masked_unit_attention": [True, False],
    },
    "levit": {
        "hidden_sizes": [16, 24, 32],
        "num_attention_heads": [2, 2, 2],
        "depths": [1, 1, 1],
        "key_dim": [8, 8, 8],
        "patch_size": 16,
        "drop_path_rate": 0,
    },
    "metaclip_2": TOWERS,
    "mobilenet_v1": {"depth_multiplier": 0.125},
    "mobilenet_v2": {"depth_multiplier": 0.125},
    "mobilevit": {"hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 8, 16, 16, 16, 32], "patch_size": 2},
    "mobilevitv2": {"width_multiplier": 0.25, "n_attn_blocks": [1, 1, 1], "patch_size": 2, "output_stride": 16},
    "perceiver": {
        "num_latents": 8,
        "d_latents": 32,
        "d_model": 512,
        "num_self_attends_per_block": 2,
        "num_self_attention_heads": 2,
        "num_cross_attention_heads": 1,
    },
    "poolformer": POOLED | {"patch_sizes": [7, 3], "padding": [2, 1], "layer_scale_init_value": 0.1},
    "pvt": PYRAMID | {"patch_sizes": [4, 2], "sequence_reduction_ratios": [2, 1]},
    "pvt_v2": PYRAMID | {"patch_sizes": [7, 3], "sr_ratios": [2, 1], "image_size": [SIZE, SIZE]},
    "regnet": {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 2], "groups_width": 8},
    "resnet": {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"},
    "segformer": PYRAMID | {"patch_sizes": [7, 3], "sr_ratios": [2, 1]},
    "siglip": TOWERS,
    "swiftformer": {"embed_dims": [8, 16, 16, 24], "depths": [1, 1, 1, 1], "layer_scale_init_value": 0.1},
    "swin": SWIN,
    "swinv2": SWIN,
    "textnet": {
        "image_size": [SIZE, SIZE],
        "stem_out_channels": 8,
        "conv_layer_kernel_sizes": [[[3, 3], [1, 3]], [[3, 3], [3, 1]], [[3, 3]], [[3, 3]]],
        "conv_layer_strides": [[1, 2], [2, 1], [1], [2]],
        "hidden_sizes": [8, 8, 16, 16, 32],
    },
}
"""By type, the fields that its shape asks for."""


def small(name: str) -> dict[str, Any]:
    """The fields that make a configuration of this type small."""
    fields = CONFIG_MAPPING[name]().to_dict()
    known = {key: value for key, value in SMALL.items() if type(fields.get(key)) in (int, float)}
    return known | OTHER.get(name, {})


def build_config(name: str, **changes: Any) -> Any:
    """A configuration of a type, small."""
    return CONFIG_MAPPING[name](**(small(name) | changes))


def build_base(folder: Path, name: str, *, head: bool = False, **changes: Any) -> None:
    """Save a random model of a type, without a head or with one, and what its pixels are normalised by."""
    config = build_config(name, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = head or name in WHOLE
        model = heads.with_head(config, heads.IMAGES)(config) if whole else AutoModel.from_config(config)
        for parameter in model.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))  # so that images differ in what they give
        model.save_pretrained(folder)
    processor = {"image_mean": MEAN, "image_std": DEVIATION, "size": {"height": SIZE, "width": SIZE}}
    write_json(folder / "preprocessor_config.json", processor)
