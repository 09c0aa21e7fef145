"""From files to batches: sources, the record store, order and random choices of training."""
