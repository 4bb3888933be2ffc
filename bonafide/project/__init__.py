"""The checkout itself: files, folders, git, dvc.lock, the process that a stage runs in."""
