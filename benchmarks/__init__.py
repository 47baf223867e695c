"""What explaining costs, as ratios to the model's own forward pass: `python -m benchmarks`."""
