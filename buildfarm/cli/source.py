"""`buildfarm source`: repositories the farm listens to."""

from __future__ import annotations

import json
from typing import IO, Any

import click

from buildfarm.cli.client import from_environment
from buildfarm.cli.credential import credential_body, credential_options
from buildfarm.cli.output import (
    Columns,
    coded,
    json_option,
    plain,
    print_facts,
    print_json,
    print_part,
    print_rows,
    short_ref,
)
from buildfarm.cli.project import warn_of_lookalikes
from buildfarm.cli.scm_token import remove_scm_token, scm_token_options, set_scm_token
from buildfarm.cli.source_hook import add_hooked, demand_good, hook, hook_of, leave_hook, remove_hook_option
from buildfarm.cli.source_offered import accept, dismiss, offered
from buildfarm.cli.source_pulls import approve, pull_requests, requests_option

_FACTS: Columns = {
    "name": "name",
    "url": "url",
    "scm": "scm",
    "projects": "projects",
    "branches": "branches",
    "tags": "tags",
    "paths": "paths",
    "pull requests": "pull_requests",
    "is now at": "moved_to",
    "sender": lambda row: json.dumps(row["scm_settings"]) if row["scm_settings"] else None,
    "tier": "tier",
    "builds read": "reads",
    "jobs at a time": "jobs_max",
    "hook url": "hook_url",
    "secret": "secret",
    "signing token": "signing_token",
    "added": "created_at",
    "last in step": lambda row: row.get("step", {}).get("in_step_at"),
    "not in step": lambda row: coded(row.get("step", {}), "problem"),
}


_ANSWERING: Columns = {
    "API": "api_url",
    "waiting": lambda row: f"{row['waiting']} waiting",
    "since": "waiting_since",
    "trouble": lambda row: coded(row, "trouble") or row["last_refusal"],
    "again": "again_at",
}


@click.group()
def source() -> None:
    """Repositories the farm listens to."""


source.add_command(set_scm_token)
source.add_command(remove_scm_token)
source.add_command(hook)
for _command in (pull_requests, approve, offered, accept, dismiss):
    source.add_command(_command)


@source.command()
@click.argument("name")
@click.argument("url")
@click.option(
    "--scm",
    help="github, gitlab, gitea, forgejo, bitbucket-data-center, bitbucket-cloud, pagure or generic; "
    "without it the URL's host decides.",
)
@click.option("--project", "projects", multiple=True, help="A project it may publish; makes the name ours.")
@click.option("--branch", "branches", multiple=True, help="Pattern of branches to build beside tags.")
@click.option(
    "--tag", "tags", multiple=True, default=("*",), show_default=True, help="Pattern of tags to build."
)
@click.option(
    "--path", "paths", multiple=True, help="Build branches and requests only when such a file changed."
)
@requests_option(default="own", show_default=True)
@click.option("--signature-header", help="generic: this header holds HMAC-SHA256 of the body in hex.")
@click.option("--signature-prefix", default="", help="generic: what stands before the hex, such as sha256=.")
@click.option(
    "--pointer",
    "pointers",
    multiple=True,
    metavar="NAME=POINTER",
    help="generic: where ref, commit, before, deleted and repository are in the JSON (RFC 6901).",
)
@click.option("--tier", default="dev", show_default=True, help="Trust: release, dev or untrusted.")
@credential_options
@scm_token_options
@click.option("--install-hook", is_flag=True, help="Make the hook in the SCM too, and have it called.")
@json_option
def add(
    name: str,
    url: str,
    *,
    scm: str | None,
    projects: tuple[str, ...],
    branches: tuple[str, ...],
    tags: tuple[str, ...],
    paths: tuple[str, ...],
    pull_requests: str,
    signature_header: str | None,
    signature_prefix: str,
    pointers: tuple[str, ...],
    tier: str,
    install_hook: bool,
    as_json: bool,
    **given: Any,  # noqa: ANN401
) -> None:
    """Listen to the repository URL under NAME.

    Prints the hook URL and secrets to enter in the SCM; the secrets are shown this once. With
    --install-hook nothing is to be entered: exit code 1 when the hook is not good.
    """
    body: dict[str, Any] = {
        "name": name,
        "url": url,
        "scm": scm,
        "projects": list(projects),
        "branches": list(branches),
        "tags": list(tags),
        "paths": list(paths),
        "pull_requests": pull_requests,
        "tier": tier,
    }
    settings: dict[str, Any] = {}
    if signature_header:
        settings["signature"] = {"header": signature_header, "prefix": signature_prefix}
    if pointers:
        settings["pointers"] = dict(pointer.partition("=")[::2] for pointer in pointers)
    body |= {"scm_settings": settings} if settings else {}
    order = add_hooked("sources", body, given, _FACTS, install_hook=install_hook, as_json=as_json)
    warn_of_lookalikes(from_environment(), projects)
    demand_good(order)


@source.command(name="set-credential")
@click.argument("name")
@credential_options
@json_option
def set_credential(name: str, *, as_json: bool, **given: Any) -> None:  # noqa: ANN401
    """Keep what the source's private repository asks for, in place of what was kept before.

    Only the fetcher gets it; `source show` says that it exists and when it was last used.
    """
    credential = credential_body(**given)
    if not credential:
        raise click.UsageError("Give --username with --password-file, --ssh-key-file or --ca-file.")
    answer = from_environment().put("sources", name, "credential", body=credential)
    _say(answer, f"The source {name} has a credential: {answer['credential']['kind']}.", as_json=as_json)


@source.command(name="remove-credential")
@click.argument("name")
@json_option
def remove_credential(name: str, *, as_json: bool) -> None:
    """Forget the credential of the source's repository."""
    answer = from_environment().delete("sources", name, "credential")
    _say(answer, f"The credential of {name} is forgotten.", as_json=as_json)


@source.command(name="list")
@json_option
def list_command(*, as_json: bool) -> None:
    """Every source."""
    columns: Columns = {
        "name": "name",
        "scm": "scm",
        "projects": "projects",
        "last builds": lambda row: " ".join(build["state"] for build in row["builds"][:3]),
        "in step": lambda row: row["step"]["in_step_at"],
        "url": "url",
    }
    print_rows(from_environment().get("sources"), columns, as_json=as_json)


@source.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """One source with its last builds."""
    found = from_environment().get("sources", name)
    print_facts(found, _FACTS, as_json=as_json)
    if not as_json:
        print_part(
            "Secrets", found["secrets"], {"kind": "kind", "made": "created_at", "used": "last_used_at"}
        )
        columns: Columns = {
            "kind": "kind",
            "user": "username",
            "made": "created_at",
            "used": "last_used_at",
        }
        print_part("Credential", [found["credential"]] if found["credential"] else [], columns)
        print_part("Told to its SCM", [found["answering"]] if found["answering"] else [], _ANSWERING)
        columns = {
            "id": "id",
            "state": "state",
            "ref": short_ref,
            "made": "created_at",
            "error": "first_error",
        }
        print_part("Last builds", found["builds"], columns)


@source.command()
@click.argument("name")
@click.option("--branch", "branches", multiple=True, help="Pattern of branches to build.")
@click.option("--tag", "tags", multiple=True, help="Pattern of tags to build.")
@click.option(
    "--path", "paths", multiple=True, help="Build branches and requests only when such a file changed."
)
@requests_option()
@json_option
def follow(
    name: str,
    *,
    branches: tuple[str, ...],
    tags: tuple[str, ...],
    paths: tuple[str, ...],
    pull_requests: str | None,
    as_json: bool,
) -> None:
    """Say what of the source is built from now on.

    An option replaces all patterns of its kind, one that is not given leaves them; an empty pattern ("")
    takes them away.
    """
    given = {"branches": branches, "tags": tags, "paths": paths}
    body: dict[str, Any] = {kind: [glob for glob in globs if glob] for kind, globs in given.items() if globs}
    body |= {"pull_requests": pull_requests} if pull_requests else {}
    answer = from_environment().put("sources", name, "follows", body=body)
    followed = f"branches {plain(answer['branches'])}; tags {plain(answer['tags'])}"
    only = f"; only where {plain(answer['paths'])} changed" if answer["paths"] else ""
    requests = f"; pull requests: {answer['pull_requests']}"
    _say(answer, f"{name} follows {followed}{only}{requests}.", as_json=as_json)


@source.command()
@click.argument("name")
@click.argument("url")
@json_option
def move(name: str, url: str, *, as_json: bool) -> None:
    """The source's repository is at URL now.

    Its credential was given to one host, and is forgotten if URL names another one.
    """
    answer = from_environment().put("sources", name, "url", body={"url": url})
    _say(answer, f"The source {name} is at {answer['url']}.", as_json=as_json)


@source.command()
@click.argument("name")
@remove_hook_option
@json_option
def remove(name: str, *, remove_hook: bool, as_json: bool) -> None:
    """Stop listening; builds and releases stay, and so does the hook in the SCM without --remove-hook."""
    left = leave_hook(name, removes=remove_hook)
    _say(from_environment().delete("sources", name), f"The source {name} is removed.{left}", as_json=as_json)


@source.command()
@click.argument("name")
@click.argument("projects", nargs=-1, required=True)
@json_option
def grant(name: str, projects: tuple[str, ...], *, as_json: bool) -> None:
    """Let the source publish PROJECTS; their names are ours from then on."""
    farm = from_environment()
    granted = farm.post("sources", name, "projects", body={"projects": list(projects)})
    _say(granted, f"{name} may publish {plain(granted['projects'])}.", as_json=as_json)
    warn_of_lookalikes(farm, projects)


@source.command()
@click.argument("name")
@click.argument("channels", nargs=-1)
@json_option
def reads(name: str, channels: tuple[str, ...], *, as_json: bool) -> None:
    """Let builds of the source read our projects in CHANNELS, and in no others; without any, none of ours."""
    answer = from_environment().put("sources", name, "reads", body={"channels": list(channels)})
    _say(answer, f"Builds of {name} read {', '.join(channels) or 'no channel of ours'}.", as_json=as_json)


@source.command()
@click.argument("name")
@click.argument("jobs", type=click.IntRange(min=1), required=False)
@json_option
def limit(name: str, jobs: int | None, *, as_json: bool) -> None:
    """Let no more than JOBS of the source be with builders at a time; without JOBS any number."""
    answer = from_environment().put("sources", name, "limit", body={"jobs_max": jobs})
    many = f"At most {jobs} of its jobs are" if jobs else "Any number of its jobs is"
    _say(answer, f"{many} with builders at a time: {name}.", as_json=as_json)


@source.command()
@click.argument("name")
@click.option("--secret-file", type=click.File(), help="Take the secret that the SCM made, `-` for stdin.")
@json_option
def rotate(name: str, *, secret_file: IO[str] | None, as_json: bool) -> None:
    """Make new secrets; the last ones stay good until this is done again."""
    farm = from_environment()
    if secret_file is None:
        print_facts(farm.post("sources", name, "secrets"), _FACTS, as_json=as_json)
        if hook_of(name):
            repair = f"`buildfarm source hook repair {name}` gives it these."
            click.echo(f"The hook in the SCM has the old ones still: {repair}", err=True)
        return
    answer = farm.put("sources", name, "secrets", body={"secret": secret_file.read().strip()})
    _say(answer, f"Deliveries to {name} may be signed with the SCM's secret.", as_json=as_json)


def _say(answer: Any, sentence: str, *, as_json: bool) -> None:  # noqa: ANN401
    if as_json:
        print_json(answer)
    else:
        click.echo(sentence)
