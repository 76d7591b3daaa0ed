"""Sources: fetch a commit of a hostile repository safely and keep it as one exact, self-contained tar."""
