"""One optimiser step, with the same bytes from any number of processes."""
