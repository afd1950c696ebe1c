"""The trained models to play with."""
