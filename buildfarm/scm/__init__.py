"""What source code managers say: receivers that verify and parse a delivery, one file per SCM.

Nothing here reads a database, a clock or the network: headers, raw body and live secrets come in, a
verdict comes out. `intake.py` gives deliveries their rows, `hook.py` makes any git server a sender.
"""
