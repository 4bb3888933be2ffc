"""What differs between jobs: a package a task, a module a role (bonafide/protocol.py)."""
