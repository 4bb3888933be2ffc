"""A model folder of transformers: its config, tokenizer and weights, checked before they are trained."""
