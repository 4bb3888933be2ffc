"""Time, memory, energy and traces of a training; shapes no result."""
