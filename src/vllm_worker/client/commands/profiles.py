"""`vllm-worker profile …` and `vllm-worker key`."""

import os
import secrets
from dataclasses import replace
from hashlib import sha256
from typing import Annotated

import typer
from typer import Argument, Option

from vllm_worker.client.cli import add_command, group
from vllm_worker.client.endpoint import at_url, on_runpod
from vllm_worker.client.errors import ClientError, ExitCode
from vllm_worker.client.options import Where
from vllm_worker.client.profiles import Profile, Profiles, file_of, load, masked, save
from vllm_worker.client.screen import print_table, say
from vllm_worker.web.keys import NAME

Name = Annotated[str, Argument(help="The profile's name.")]


def add_to(app: typer.Typer, panel: str) -> None:
    profiles = group("Name endpoints, and choose the one that commands ask.")
    add_command(profiles, add, "add")
    add_command(profiles, list_profiles, "list")
    add_command(profiles, use, "use")
    add_command(profiles, remove, "remove")
    app.add_typer(profiles, name="profile", rich_help_panel=panel)
    add_command(app, url, "url", panel)
    add_command(app, key, "key", panel)


def add(
    name: Name,
    endpoint: Annotated[str | None, Option("--endpoint", metavar="ID", help="On RunPod.")] = None,
    url: Annotated[str | None, Option("--url", help="Any endpoint's URL.")] = None,
    api_key: Annotated[str | None, Option("--api-key", metavar="KEY")] = None,
    ask_key: Annotated[bool, Option("--ask-key", help="Ask for the key, unseen.")] = False,
    model: Annotated[str | None, Option("--model", "-m", help="Which to ask by default.")] = None,
) -> None:
    """Add a profile, or change one. The first is in use at once.

    Examples:
    vllm-worker profile add work --endpoint abc123 --ask-key
    vllm-worker profile add home --url http://127.0.0.1:8000
    """
    if not name.strip():
        raise ClientError("a profile has a name", ExitCode.USAGE)
    if bool(endpoint) == bool(url):
        raise ClientError("a profile has either --endpoint or --url", ExitCode.USAGE)
    if endpoint:
        on_runpod(endpoint, None)
    else:
        at_url(url or "")
    if ask_key:
        api_key = typer.prompt("Key", hide_input=True, err=True)
    known = _load()
    # A key that is not given again stays, as long as it goes to the same place.
    before = known.named.get(name, Profile())
    if (before.endpoint, before.url) == (endpoint, url):
        api_key, model = api_key or before.api_key, model or before.model
    known.named[name] = Profile(endpoint, url, api_key, model)
    _save(replace(known, use=known.use or name))
    say(f"profile {name} is kept{', and in use' if known.use in (None, name) else ''}")


def list_profiles() -> None:
    """List profiles, with their keys masked; the one in use has a star."""
    known = _load()
    rows = [
        (
            "*" if name == known.use else "",
            name,
            profile.endpoint or profile.url or "-",
            masked(profile.api_key),
            profile.model or "-",
        )
        for name, profile in sorted(known.named.items())
    ]
    print_table(("", "profile", "endpoint", "key", "model"), rows)


def use(name: Name) -> None:
    """Let commands ask this profile's endpoint."""
    known = _load()
    known.find(name)
    _save(replace(known, use=name))


def remove(name: Name) -> None:
    """Forget a profile and its key."""
    known = _load()
    if name not in known.named:
        known.find(name)
    del known.named[name]
    _save(replace(known, use=None if known.use == name else known.use))


def url(where: Where) -> None:
    """Print the base URL that OpenAI's clients take for the endpoint.

    Examples:
    export OPENAI_BASE_URL=$(vllm-worker url --endpoint abc123)
    """
    print(where.find().openai_url)


def key(name: Annotated[str, Argument(help="Whose it is; log lines name it.")]) -> None:
    """Make a key for a worker's HTTP door: the key, and its line for API_KEYS_FILE.

    Examples:
    vllm-worker key alice
    """
    if not NAME.fullmatch(name):
        message = f"{name!r} is no name of a key: 1 to 64 letters, digits, dots, @, _ and -"
        raise ClientError(message, ExitCode.USAGE)
    secret = f"sk-{secrets.token_urlsafe(32)}"
    print(secret)
    digest = sha256(secret.encode()).hexdigest()
    say(f"for API_KEYS_FILE, which need not know the key itself:\n{name} sha256:{digest}")


def _load() -> Profiles:
    return load(file_of(os.environ))


def _save(profiles: Profiles) -> None:
    save(profiles, file_of(os.environ))
