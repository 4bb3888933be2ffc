"""What may be wrong with images, and which are nearly the same."""
