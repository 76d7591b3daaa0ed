"""The append-only record of everything that changes what a client can see."""
