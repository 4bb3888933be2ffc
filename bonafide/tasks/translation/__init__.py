"""Translation: a text in one language from a text in another."""
