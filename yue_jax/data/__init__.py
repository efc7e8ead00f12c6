"""From a manifest of songs to batches: prepared once, then read by number."""
