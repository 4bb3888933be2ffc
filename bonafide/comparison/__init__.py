"""Revision A against revision B, on the rows that both have predicted."""
