"""The checks of validate: faults of rows, duplicates, personal data, expectations of the table."""
