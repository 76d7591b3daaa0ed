"""Rebuild waves: published releases built again when what they were built with changed."""
