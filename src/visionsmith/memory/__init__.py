"""Memory and the loading of models: what fits, and what must not happen twice at a time."""
