"""codefit: fit a code language model to a codebase, and measure what that changed."""

__version__ = "0.1.0"
