collect_ignore = ["right.py", "wrong.py"]  # read by type checkers, never run
