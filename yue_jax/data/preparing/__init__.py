"""From manifests of songs to a prepared data set; start with `prepare`."""
