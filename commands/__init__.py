"""What `bonafide` does that DVC and MLflow do not: one file, one command, one answer."""

from bonafide.activation import watch

watch()
