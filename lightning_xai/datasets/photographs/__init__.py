"""Photographs that packages bring along, as they are and pasted onto each other: nothing is downloaded."""
