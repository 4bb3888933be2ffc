"""Revisions and their bytes: what they hold, whether it is whole, whether it comes out again."""
