"""``lightning-xai`` on the command line; also ``python -m lightning_xai``."""
