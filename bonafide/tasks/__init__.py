"""The jobs, a package each and in it a module a role."""
