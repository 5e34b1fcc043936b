"""To the Hub and to editors: pushes, cards, GGUF files."""
