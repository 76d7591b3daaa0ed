"""The one decision function: may this principal do this to that?

Pure; what it decides on comes in. Scopes read `verb` or `verb:object`, `*` as object means any:
`admin`, `read:dev`, `upload:dev`, `promote:staging`, `build`, `view`, `builder:dev`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from buildfarm.errors import Forbidden, InvalidInput, Unauthenticated

#: What each verb allows, in the words of a person.
VERBS = {
    "admin": "do everything",
    "read": "install from the channel",
    "upload": "upload files to the channel",
    "promote": "promote releases to the channel, and yank there",
    "build": "start and cancel builds",
    "view": "look at builds, logs and releases",
    "builder": "run attempts of the tier",
}
_WITH_OBJECT = {"read", "upload", "promote", "builder"}


@dataclass(frozen=True)
class Principal:
    """Who is asking; anonymous has no scopes and no id.

    `subjects` are what lists of owners may call it: `user:NAME`, `token:ID`.
    """

    id: str | None = None
    name: str = "anonymous"
    scopes: frozenset[str] = field(default_factory=frozenset)
    subjects: frozenset[str] = field(default_factory=frozenset)

    @property
    def is_anonymous(self) -> bool:
        """Whether no credential came along."""
        return self.id is None


ANONYMOUS = Principal()


def parse_scopes(texts: list[str]) -> frozenset[str]:
    """Scopes from words as people type them.

    Raises:
        InvalidInput: `access.scope`, a verb is unknown, or lacks or carries an object wrongly.
    """
    for text in texts:
        verb, _, target = text.partition(":")
        if verb not in VERBS or bool(target) != (verb in _WITH_OBJECT):
            known = ", ".join(f"{name}:…" if name in _WITH_OBJECT else name for name in VERBS)
            raise InvalidInput(f"{text!r} is no scope.", code="access.scope", hint=f"Scopes are: {known}.")
    return frozenset(texts)


def may(principal: Principal, verb: str, target: str = "", *, public: bool = False) -> bool:
    """Whether `principal` may do `verb` to `target`; `public` opens reading to everybody."""
    if "admin" in principal.scopes or (public and verb == "read"):
        return True
    if target:
        return bool(principal.scopes & {f"{verb}:{target}", f"{verb}:*"})
    # Whoever may start builds or read any channel may look at what was built.
    implied = {"view": {"view", "build"}}.get(verb, {verb})
    return bool(principal.scopes & implied)


def require(principal: Principal, verb: str, target: str = "", *, public: bool = False) -> None:
    """Like `may`, as an error.

    Raises:
        Unauthenticated: nobody is logged in.
        Forbidden: somebody is, without that right.
    """
    if may(principal, verb, target, public=public):
        return
    what = f"{VERBS[verb]} {target}".strip()
    if principal.is_anonymous:
        raise Unauthenticated("Log in first.", hint=f"A token that may {what} does it.")
    raise Forbidden(
        f"{principal.name} may not {what}.",
        hint=f"It needs the scope {verb}{':' + target if target else ''}.",
    )
