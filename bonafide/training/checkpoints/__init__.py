"""Checkpoints: each whole or absent, verified before it is used."""
