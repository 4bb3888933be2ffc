"""A convolutional network for small images that learns in few epochs, after Jordan (2024, arXiv 2404.00498).

Patches of 2 x 2 pixels are whitened first, by a frozen convolution that is measured on train; then come blocks of two
3 x 3 convolutions with batch normalisation and GELU, each of which halves height and width.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ImageClassifierOutput

PATCH = 2  # pixels
EPSILON = 5e-4  # added to the patches' variances: directions that hardly vary are not blown up
LOGIT_SCALE = 1 / 9


class CnnConfig(PreTrainedConfig):  # type: ignore[misc]
    """What shapes the network."""

    model_type = "bonafide-cnn"

    image_size: int = 32
    """Pixels, height and width."""
    num_channels: int = 3
    hidden_sizes: list[int] | None = None
    """Channels of each block; [64, 128, 128] unless given."""


class Block(nn.Module):
    """Convolution, pooling, convolution, each normalised over the batch."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """From `inputs` channels to `outputs`."""
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (n, inputs, h, w) to (n, outputs, h // 2, w // 2)."""
        x = nn.functional.max_pool2d(self.conv1(x), 2)
        x = nn.functional.gelu(self.norm1(x))
        return nn.functional.gelu(self.norm2(self.conv2(x)))


class CnnForImageClassification(PreTrainedModel):  # type: ignore[misc]
    """Whitening, blocks, the maximum over places, logits."""

    config_class = CnnConfig
    main_input_name = "pixel_values"

    def __init__(self, config: Any) -> None:
        """Draw the weights from torch's generator; `whiten` sets those of the first layer."""
        super().__init__(config)
        widths = config.hidden_sizes or [64, 128, 128]
        patch = config.num_channels * PATCH**2
        self.whitening = nn.Conv2d(config.num_channels, 2 * patch, PATCH)
        self.whitening.weight.requires_grad_(False)  # noqa: FBT003
        inputs = [2 * patch, *widths]
        self.blocks = nn.ModuleList(Block(i, o) for i, o in zip(inputs, widths, strict=False))
        self.classifier = nn.Linear(widths[-1], config.num_labels, bias=False)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Identity on as many channels as come in, where a convolution has more of them than inputs (dirac)."""
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
            else:
                module.weight[: module.in_channels].zero_()
                for channel in range(min(module.in_channels, module.out_channels)):
                    module.weight[channel, channel, 1, 1] = 1.0
        elif isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=5**0.5)

    @torch.no_grad()
    def whiten(self, pixels: torch.Tensor) -> None:
        """Have the first layer decorrelate patches of pixels (n, channels, h, w), each also with its sign turned."""
        patches = nn.functional.unfold(pixels.double(), PATCH).transpose(1, 2).flatten(0, 1)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors.T.flip(0) / (values.flip(0)[:, None] + EPSILON).sqrt()).float()
        shape = self.whitening.weight[: len(filters)].shape
        self.whitening.weight.copy_(torch.cat([filters, -filters]).view(2 * shape[0], *shape[1:]))

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **_: Any) -> Any:
        """Logits (n, labels) of pixels (n, channels, height, width); the mean cross-entropy where there are labels."""
        x = nn.functional.gelu(self.whitening(pixel_values))
        for block in self.blocks:
            x = block(x)
        logits = self.classifier(x.amax(dim=(2, 3))) * LOGIT_SCALE
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)
