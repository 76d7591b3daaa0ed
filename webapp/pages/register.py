"""Puts every page of the dashboard into the application."""

from __future__ import annotations

from flask import Flask


def register(app: Flask) -> None:
    """Register the blueprints of the dashboard."""
