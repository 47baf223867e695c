"""Where what was found is kept, under which key, and how several processes share it."""
