"""The proof: how good a generated model is, what it costs, and whether it may be released."""
