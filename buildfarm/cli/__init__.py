"""The `buildfarm` command, one file for each noun."""
