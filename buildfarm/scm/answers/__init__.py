"""What the farm says to SCMs about its builds: an outbox in SQL, written with each change, sent in order.

`note.py` writes it in the transaction of the change, `send.py` empties it, `pause.py` remembers who is not
asked now. Nothing is lost while an SCM is away; after a crash at the worst moment one status is sent twice,
which every SCM takes for the one it has.
"""
