"""Trains a model and proves that it is more than a shell around its base."""
