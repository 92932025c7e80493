"""Moved to `cnndsl.weights.files`."""

from cnndsl.weights.files import Kind, regular_file

__all__ = ["Kind", "regular_file"]
