"""The documents of a prepared data set, by number; start with `source`."""
