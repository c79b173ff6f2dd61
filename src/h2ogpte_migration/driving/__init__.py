"""The driver of one collection, step by step: intents, looks, checkpoints.

``pipeline`` decides which step is next; the modules here carry it through. They alone write
intents and checkpoints; the steps themselves (``steps``) only read, call and return.
"""
