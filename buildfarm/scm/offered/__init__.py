"""Repositories that connections tell of and no source listens to: looked at, offered, accepted, dismissed."""
