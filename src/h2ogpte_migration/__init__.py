"""Moves h2oGPTe collections to a new embedding model.

This package root holds the version only: importing it must stay free of cost.
"""

__version__ = "2.0.0"
