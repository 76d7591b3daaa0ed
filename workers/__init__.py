"""Processes that take work from RQ: the worker class, job functions, the builder agent."""
