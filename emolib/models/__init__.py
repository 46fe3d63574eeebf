"""Language models by what the method needs of them: architectures, sources, loading, encoding."""
