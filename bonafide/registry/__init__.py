"""Champions in MLflow's registry: who becomes one."""
