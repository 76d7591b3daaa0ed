"""Recipes: what to build and how. Reads, merges and checks them, and plans targets from them."""
