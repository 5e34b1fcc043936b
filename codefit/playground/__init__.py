"""A page to try a model: type code, see base and fitted model next to each other, with token probabilities."""
