"""A model over batches of texts of unequal length: packed or padded."""
