"""Readers of folders in the layouts in which data sets come: boxes and masks follow the image when it is cut."""
