"""Who is there and what they may do: principals, tokens, sessions, the one decision function."""
