"""MLflow, a sink that shapes no result: stage_run, agent_client, agent, tracker, delivery; spool while it is down."""
