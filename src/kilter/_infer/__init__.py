"""Models as they are used after training: folded, refreshed, sparse, in half precision, with uncertainty."""
