"""The textbook network for small images: dense layers with ReLU on flattened pixels, as Keras initialises them."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ImageClassifierOutput


class MlpConfig(PreTrainedConfig):  # type: ignore[misc]
    """What shapes the network."""

    model_type = "bonafide-mlp"

    image_size: int = 32
    """Pixels, height and width."""
    num_channels: int = 3
    hidden_sizes: list[int] | None = None
    """Units of each hidden layer; [128] unless given."""


class MlpForImageClassification(PreTrainedModel):  # type: ignore[misc]
    """Flatten, dense layers with ReLU, logits."""

    config_class = MlpConfig
    main_input_name = "pixel_values"

    def __init__(self, config: Any) -> None:
        """Draw the weights from torch's generator."""
        super().__init__(config)
        hidden = config.hidden_sizes or [128]
        sizes = [config.num_channels * config.image_size**2, *hidden]
        self.layers = nn.ModuleList(nn.Linear(inputs, units) for inputs, units in zip(sizes, hidden, strict=False))
        self.classifier = nn.Linear(sizes[-1], config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Keras' defaults: Glorot's uniform weights (Glorot and Bengio 2010), biases 0."""
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **_: Any) -> Any:
        """Logits (n, labels) of pixels (n, channels, height, width); the mean cross-entropy where there are labels."""
        x = pixel_values.permute(0, 2, 3, 1).flatten(1)  # as Keras flattens: channels last
        for layer in self.layers:
            x = nn.functional.relu(layer(x))
        logits = self.classifier(x)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)
