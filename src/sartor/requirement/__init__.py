"""From a task in plain words to a requirement: what has to be made, and why we think so."""
