"""What an editor needs of a model: one file of weights for llama.cpp and its kin, and the settings of their clients."""
