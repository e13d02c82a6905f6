"""What a pipeline is made of: model calls, Python functions, images."""
