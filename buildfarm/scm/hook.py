"""What an operator of a plain git server installs: the hook script and the settings beside it."""

from __future__ import annotations

import json
from importlib.resources import files

from buildfarm.errors import InvalidInput
from buildfarm.scm.secret import check_secret

#: File name and mode of the settings; the script looks for them in its own folder.
CONFIG_NAME = "buildfarm-hook.json"
CONFIG_MODE = 0o600


def post_receive() -> str:
    """The text of a self-contained post-receive script for Python 3.8 or later, standard library only."""
    return files("buildfarm.scm").joinpath("post_receive.py").read_text(encoding="utf-8")


def hook_config(hook_url: str, signing_token: str, ca_file: str | None = None) -> str:
    """The text of `buildfarm-hook.json`, to be written with `CONFIG_MODE`.

    Args:
        hook_url: The source's hook URL, http or https.
        signing_token: The source's `whsec_` token.
        ca_file: Path on the git server of a CA certificate, where the farm's is not publicly known.

    Raises:
        InvalidInput: code `source.hook_url`, or `source.secret_weak`.
    """
    if not hook_url.startswith(("https://", "http://")):
        raise InvalidInput(f"The hook URL {hook_url!r} is neither http nor https.", code="source.hook_url")
    check_secret("signing", signing_token)
    settings = {"url": hook_url, "signing_token": signing_token}
    if ca_file:
        settings["ca_file"] = ca_file
    return json.dumps(settings, indent=2) + "\n"
