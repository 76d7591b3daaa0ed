"""The domain of buildfarm."""
