"""Masked language models: hidden tokens of a text, told from those around them (BERT's pretraining)."""
