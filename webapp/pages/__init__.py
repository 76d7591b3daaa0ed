"""The dashboard: server-rendered pages, one file for each noun."""
