"""The networks of a study: how each is made and trained, its scores, and where it is kept."""
