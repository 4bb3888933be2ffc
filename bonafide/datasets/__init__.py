"""Tokenized splits on disk, and which row belongs to which split."""
