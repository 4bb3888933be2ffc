"""Tokenized splits on disk, as flat arrays that are memory-mapped."""
