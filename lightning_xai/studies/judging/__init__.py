"""From numbers to verdicts: how much one thing exceeds another, and what a claim may say."""
