"""The transformer family: what the class token gathers from the patches, through all attention maps."""
