"""Who may ask over HTTP: the keys in API_KEY and API_KEYS_FILE.

A key is kept as its SHA-256 alone, and looked for among all of them in constant time.
"""

import hmac
import logging
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

logger = logging.getLogger(__name__)

WITHOUT_KEY = "The API key is missing or wrong: send Authorization: Bearer KEY, or x-api-key: KEY."

_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")
_COMMENT = re.compile(r"(?:^|\s)#.*")
NAME = re.compile(r"[\w.@-]{1,64}")
"""Of a key."""


class Keys:
    """The keys, by their names. Without one, everybody is let in.

    `keys` are those of API_KEY; `file` has a line for each further key: a name, and the key or
    `sha256:` with its SHA-256. It is read again when it has changed.
    """

    def __init__(self, keys: list[str], file: Path | None = None) -> None:
        """Raises ValueError for a file that cannot be read, without what is in it."""
        names = ["key"] if len(keys) == 1 else [f"key-{n}" for n in range(1, len(keys) + 1)]
        self._own = dict(zip(names, map(_hashed, keys), strict=True))
        self._file = file
        self._stamp: tuple[int, ...] | None = None
        self._listed: dict[str, bytes] = {}
        if file:
            try:
                self._stamp = _stamp(file)
                self._listed = _read(file)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise ValueError(f"API_KEYS_FILE={str(file)!r}: {reason}.") from None

    @property
    def required(self) -> bool:
        """Whether a key is asked for."""
        return bool(self._own or self._file)

    def name_of(self, headers: Mapping[str, str]) -> str | None:
        """The name of the key in a request's headers; None for a key that is none of these.

        It is where OpenAI's clients put it (Authorization: Bearer) or Anthropic's (x-api-key).
        """
        if not self.required:
            return ""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = [token] if scheme.lower() == "bearer" else []
        given.append(headers.get("x-api-key", ""))
        # The bytes that were sent, which headers are decoded from.
        digests = [sha256(key.strip().encode("latin-1", "replace")).digest() for key in given]
        found = None
        for name, key in (*self._own.items(), *self._current().items()):
            for digest in digests:
                if hmac.compare_digest(digest, key):
                    found = name
        return found

    def _current(self) -> dict[str, bytes]:
        """The file's keys; while it cannot be read, those it had before."""
        if self._file:
            stamp = _stamp(self._file)
            if stamp != self._stamp:
                self._stamp = stamp
                self._read_again(self._file)
        return self._listed

    def _read_again(self, file: Path) -> None:
        try:
            self._listed = _read(file)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            logger.warning("API_KEYS_FILE: %s. The keys that it had before still count.", reason)
        else:
            logger.info("API_KEYS_FILE has been read again: %d keys", len(self._listed))


def _stamp(file: Path) -> tuple[int, ...] | None:
    """What differs when the file has changed; None while there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size


def _read(file: Path) -> dict[str, bytes]:
    """Raises ValueError for a line that is none; it quotes no key."""
    if file.exists() and not file.is_file():
        raise ValueError("is not a regular file")
    keys: dict[str, bytes] = {}
    for number, line in enumerate(file.read_text("utf-8-sig").splitlines(), 1):
        words = _COMMENT.sub("", line).split()
        if not words:
            continue
        if len(words) != 2 or not NAME.fullmatch(words[0]):
            raise ValueError(f"line {number} must have a name and a key, or the key's SHA-256")
        name, key = words
        if name in keys:
            raise ValueError(f"line {number} has the name of a line before it")
        hashed = _HASH.fullmatch(key)
        if key.startswith("sha256:") and not hashed:
            raise ValueError(f"line {number} must have 64 hexadecimal digits after sha256:")
        keys[name] = bytes.fromhex(hashed[1]) if hashed else _hashed(key)
    return keys


def _hashed(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
