"""What `bonafide` does that DVC and MLflow do not: one file, one command, one answer."""
