"""Wheels and sdists as files: names, tags, metadata, and the one validator with its one rule list."""
