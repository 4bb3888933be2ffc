"""The champion over HTTP, with evaluate's numbers."""
