"""A generated benchmark whose truth is known: the exact distribution over the votes at every pixel."""
