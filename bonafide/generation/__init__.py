"""Texts that a model writes: greedy and beam search, and sampling, with caches of keys and values."""
