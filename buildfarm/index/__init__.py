"""Projects, releases, files and channels: publish, promote, yank, pages, mirror."""
