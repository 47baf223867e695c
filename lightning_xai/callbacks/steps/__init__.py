"""The steps of an explained validation."""
