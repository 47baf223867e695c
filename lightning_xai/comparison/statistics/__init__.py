"""From what was found to numbers: means, differences, ranks, correlations, agreement, and which metrics to trust."""
