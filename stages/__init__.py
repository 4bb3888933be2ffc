"""The story, in order: fetch, validate, tokenize, train, evaluate, report."""

from bonafide.activation import watch

watch()

from bonafide.environment import prepare  # noqa: E402  (its imports are watched)

prepare()
