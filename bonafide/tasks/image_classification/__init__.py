"""Image classification: one label of an image, by a network from scratch or any vision model of transformers."""
