"""Pairs of texts, corpora, and texts as they come to a service."""
