"""Image files to pixels: what their headers say, decoding, comparing, and thumbnails of our own making."""
