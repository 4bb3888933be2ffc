"""Networks that read pixels, and batches of images for them, augmented or not."""
