"""What others need: a file of weights for llama.cpp and its kin, settings of editors, methods for CodeXGLUE's tools."""
