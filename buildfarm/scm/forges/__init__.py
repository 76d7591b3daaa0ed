"""What is asked of an SCM's API: statuses, comments, hooks. One file for each SCM behind `port.Forge`.

Nothing here reads the farm's database but `credentials.py`; what is said to the SCM and when is decided by
`buildfarm.scm.answers` and `buildfarm.scm.hooking`.
"""
