"""Publishing on the Hub and for editors: pushes, cards, GGUF files."""
