"""The pull request: what a change does to the results, as a comment and a gate."""
