"""Makes transformers know our networks: import this before `from_pretrained` of a model of theirs."""

from transformers import AutoConfig, AutoModelForImageClassification

from bonafide.vision.cnn import CnnConfig, CnnForImageClassification
from bonafide.vision.mlp import MlpConfig, MlpForImageClassification

for config, network in ((MlpConfig, MlpForImageClassification), (CnnConfig, CnnForImageClassification)):
    AutoConfig.register(config.model_type, config)
    AutoModelForImageClassification.register(config, network)
