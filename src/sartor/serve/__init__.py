"""A model in use: which model answers a row."""
