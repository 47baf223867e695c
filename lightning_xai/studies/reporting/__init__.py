"""Tables beside a paper's printed numbers, figures, and the page that holds them all."""
