"""The story, in order: fetch, validate, tokenize, train, evaluate, report."""

from bonafide.environment import prepare

prepare()
