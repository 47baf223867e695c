"""What the explanations of a run decide: pure functions of its rows that return a decision and its reason."""
