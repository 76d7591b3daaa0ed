"""Commands that people write below pull requests: read strictly, permitted by the SCM, answered there.

`rules.py` reads them, `perform.py` has them done by the notifier: a comment says who wrote it, and only the
SCM's API says what that person may do.
"""
