"""Laws that hold for every operator, over what each says of itself in a module of its own name."""
