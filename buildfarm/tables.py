"""Every table of the farm, imported once for migrations and tests; no code of its own."""

from buildfarm.access import model as access
from buildfarm.db.types import Base
from buildfarm.farm import model as farm
from buildfarm.index import model as index
from buildfarm.index import session_model as sessions
from buildfarm.journal import model as journal
from buildfarm.mirror import guard_model as guard
from buildfarm.mirror import model as mirror
from buildfarm.scm import model as scm
from buildfarm.scm.answers import model as answers
from buildfarm.scm.forges import model as forges
from buildfarm.scm.hooking import model as hooking
from buildfarm.scm.offered import model as offered
from buildfarm.sources import model as sources
from buildfarm.waves import model as waves

__all__ = [
    "Base", "access", "answers", "farm", "forges", "guard", "hooking", "index", "journal", "mirror",
    "offered", "scm", "sessions", "sources", "waves",
]  # fmt: skip
