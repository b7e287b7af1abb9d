"""Image classification when the labels are partly wrong."""
