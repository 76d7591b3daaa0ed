"""What the farm says about its files: statements, the signer that makes them, and their verification."""
