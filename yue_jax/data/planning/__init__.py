"""Which pieces of documents fill which sample; start with `plan`."""
