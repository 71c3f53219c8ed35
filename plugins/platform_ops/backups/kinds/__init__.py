"""A file for each kind of source: how it is read, restored and compared."""
