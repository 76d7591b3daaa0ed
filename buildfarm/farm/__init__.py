"""Builds, jobs and attempts: planning, hand-over, claims, logs, the keeper."""
