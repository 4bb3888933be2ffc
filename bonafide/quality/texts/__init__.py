"""Pairs of texts, and texts as they come to a service."""
