"""Which file of a folder is whose."""
