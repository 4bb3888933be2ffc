"""Causal language models: each token of a text from those before it (GPT)."""
