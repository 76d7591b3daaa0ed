"""Has the newest rows of the journal signed, where no publisher does it on its way.

`journal verify` and every follower of the log see as far as the newest checkpoint: promotions, yanks and
keys must not wait for the next build to be covered.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from buildfarm import clock
from buildfarm.db.engine import Database
from buildfarm.errors import Conflict
from buildfarm.journal.log import head, newest_size, store_checkpoint
from buildfarm.journal.model import JournalRow
from buildfarm.trust.client import SignerClient


def cover(database: Database, signer: SignerClient, unsigned_for: timedelta) -> int | None:
    """Have the journal's present head signed, if its oldest unsigned row is older than that.

    Returns the size that was signed, or None when there was nothing to do.

    Raises:
        ExternalFailure: the signer or the database is away; the rows are covered later.
        IntegrityFailure: the journal does not continue what the signer signed last.
    """
    with database.read() as session:
        oldest = select(JournalRow.at).where(JournalRow.serial == newest_size(session) + 1)
        at = session.execute(oldest).scalar_one_or_none()
        if at is None or at > clock.now() - unsigned_for:
            return None
        log = head(session)
        try:
            checkpoint = signer.checkpoint(log.size, log.root, log.consistency, [])
        except Conflict as err:
            if err.code != "checkpoint.behind":
                raise
            return None  # a publisher had a later head signed just now, and stores it
    with database.begin() as session:
        store_checkpoint(session, log.size, checkpoint.note)
    return log.size
