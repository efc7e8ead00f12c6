"""YuE in JAX: from songs to documents, to trained stages, to new songs."""
