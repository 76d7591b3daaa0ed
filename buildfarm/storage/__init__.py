"""Bytes named by their SHA-256."""
