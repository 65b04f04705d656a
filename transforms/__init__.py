"""From a file to a tensor, and from a batch of images to a puzzle."""
