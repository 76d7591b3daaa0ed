"""The upstream indexes, guarded: what they have, what of it is shown, what is kept here."""
