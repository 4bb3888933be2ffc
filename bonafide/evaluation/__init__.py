"""Numbers from predictions: metrics as functions of sums, intervals, tests, slices."""
