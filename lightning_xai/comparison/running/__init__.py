"""The work of a comparison: what is asked, what is finished of it, the models at hand, and who does what is left."""
