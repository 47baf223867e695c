"""Run the command line: ``python -m lightning_xai``."""

import sys

from lightning_xai.cli.main import main

sys.exit(main())
