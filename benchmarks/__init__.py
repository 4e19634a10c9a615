"""One script per table; each writes ``benchmarks/results/*.json``. See README.md beside this file."""
