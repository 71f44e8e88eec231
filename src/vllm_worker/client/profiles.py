"""Named endpoints in one TOML file that only its owner can read.

use = "work"

[profiles.work]
endpoint = "abc123"      # or: url = "https://…"
api_key = "rpa_…"
model = "llama"
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import tomli_w

from vllm_worker.client.errors import ClientError, ExitCode


@dataclass(frozen=True)
class Profile:
    """What an option is when it is not given. Either `endpoint`, an id on RunPod, or `url`."""

    endpoint: str | None = None
    url: str | None = None
    api_key: str | None = None
    model: str | None = None


@dataclass
class Profiles:
    """All profiles, and the name of the one in use."""

    named: dict[str, Profile] = field(default_factory=dict)
    use: str | None = None

    def find(self, name: str) -> Profile:
        """Raises ClientError when there is none of that name."""
        if name not in self.named:
            known = ", ".join(sorted(self.named)) or "none yet: `vllm-worker profile add NAME …`"
            raise ClientError(f"there is no profile {name!r}; there are {known}", ExitCode.USAGE)
        found = self.named[name]
        if bool(found.endpoint) == bool(found.url):
            message = f"profile {name!r} has to have either an endpoint or a url"
            raise ClientError(message, ExitCode.USAGE)
        return found


def file_of(environ: Mapping[str, str]) -> Path:
    """Where profiles are kept, by the XDG Base Directory Specification."""
    home = Path(environ.get("HOME") or Path.home())
    folder = environ.get("XDG_CONFIG_HOME") or home / ".config"
    return Path(folder) / "vllm-worker" / "profiles.toml"


def load(file: Path) -> Profiles:
    """The profiles in a file; none if it is missing. Raises ClientError if it cannot be used."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Profiles()
    except (OSError, ValueError, RecursionError) as error:
        raise ClientError(f"{file} cannot be read: {error}", ExitCode.USAGE) from error
    use, tables = content.get("use"), content.get("profiles", {})
    try:
        named = {name: Profile(**values) for name, values in tables.items()}
        texts = [use, *(value for values in tables.values() for value in values.values())]
        if not all(text is None or isinstance(text, str) for text in texts):
            raise TypeError
    except (AttributeError, TypeError) as error:
        keys = ", ".join(Profile.__dataclass_fields__)
        message = f"{file}: a profile is a table with {keys}, all texts; use is the name of one"
        raise ClientError(message, ExitCode.USAGE) from error
    return Profiles(named, use)


def save(profiles: Profiles, file: Path) -> None:
    """Write the file anew, at no moment readable by others."""
    content: dict[str, object] = {"use": profiles.use} if profiles.use else {}
    content["profiles"] = {
        name: {key: value for key, value in asdict(profile).items() if value is not None}
        for name, profile in profiles.named.items()
    }
    file = file.resolve()  # a link stays one
    new = file.with_suffix(".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as output:
            output.write(tomli_w.dumps(content).encode())
        new.replace(file)
    except OSError as error:
        raise ClientError(f"{file} cannot be written: {error.strerror}") from error


def masked(key: str | None) -> str:
    """A key to show: its last four characters, if it is long enough to keep the rest a secret."""
    if not key:
        return "-"
    return f"…{key[-4:]}" if len(key) >= 16 else "…"


def runpod_key(environ: Mapping[str, str]) -> str | None:
    """RunPod's key: RUNPOD_API_KEY, or from the file of its SDK or of runpodctl."""
    if key := environ.get("RUNPOD_API_KEY"):
        return key
    file = Path(environ.get("HOME") or Path.home()) / ".runpod" / "config.toml"
    try:
        content = tomllib.loads(file.read_text())
    except (OSError, ValueError):
        return None
    section = content.get("default")
    key = section.get("api_key") if isinstance(section, dict) else None
    key = key or content.get("apikey")
    return key if isinstance(key, str) else None
