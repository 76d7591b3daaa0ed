"""Scripts that run in the containers: standard library only, any Python from 3.11 on.

They are copied, under their package's name, into a directory that is mounted read-only at /farm.
"""
