"""Where the data lies that comes with the product beside its code."""

from __future__ import annotations

import sys
from pathlib import Path


def shipped(name: str) -> Path:
    """A folder of it: in the checkout, or where a wheel puts it."""
    checkout = Path(__file__).resolve().parent.parent / name
    return checkout if checkout.is_dir() else Path(sys.prefix) / "share" / "buildfarm" / name
