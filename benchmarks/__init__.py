"""What parasync costs, beside what else does the same work: `python -m benchmarks`."""
