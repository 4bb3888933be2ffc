"""The story, in order: fetch, validate, tokenize, train, evaluate, report."""

from bonafide.project.activation import watch

watch()

from bonafide.project.environment import prepare  # noqa: E402  (its imports are watched)

prepare()
