"""The one evaluation of every method."""
