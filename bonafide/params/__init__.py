"""params.yaml, typed once."""
