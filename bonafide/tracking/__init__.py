"""MLflow, a sink: what a run tells it, delivered at once or later; shapes no result."""
