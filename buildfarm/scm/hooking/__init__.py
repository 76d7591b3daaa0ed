"""The hook that the farm has in an SCM: installed, looked at, repaired, rotated, removed, by its API.

Web holds no SCM credential: what an administrator asks for is an order (`orders.py`), which a worker performs
(`perform.py`) and answers with how the hook is. Workers look at hooks unasked, too (`watch.py`).
"""
