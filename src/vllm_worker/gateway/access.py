"""Whose key it is, and which models it may ask for."""

import hmac
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256

from vllm_worker.gateway.file import GatewayFile, Key, Target
from vllm_worker.gateway.names import ENTITY, would_do

NOBODY = "anyone"
"""Who asks where the file has no keys."""

_TYPES = {401: "AuthenticationError", 403: "PermissionDeniedError", 404: "NotFoundError"}


class Refused(Exception):
    """A request that goes no further: an HTTP status and what the client is told."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param

    @property
    def type(self) -> str:
        return _TYPES.get(self.status, "BadRequestError")


class Access:
    """The file's keys, as their SHA-256, and the entities that there are, with their targets."""

    def __init__(
        self, file: GatewayFile, models: Mapping[str, Sequence[Target]], environ: Mapping[str, str]
    ) -> None:
        self._keys = dict(file.keys)
        self._digests = {
            name: bytes.fromhex(key.sha256) if key.sha256 else _digest(environ[key.key or ""])
            for name, key in file.keys.items()
        }
        self._models = models
        self._workspaces = {entity.partition("/")[0] for entity in models}

    def name_of(self, token: str) -> str:
        """The name of a key, compared with all of them in constant time. Raises Refused (401)."""
        if not self._keys:
            return NOBODY
        # The bytes that were sent, which headers are decoded from.
        given, found = sha256(token.strip().encode("latin-1", "replace")).digest(), None
        for name, digest in self._digests.items():
            if hmac.compare_digest(given, digest):
                found = name
        if not found:
            raise Refused(401, "The API key is missing or wrong: send Authorization: Bearer KEY.")
        return found

    def key(self, name: str) -> Key | None:
        """What the file says of a key; None where it has no keys."""
        return self._keys.get(name)

    def check(self, name: str, model: str) -> None:
        """Raises Refused: 422 for what is no entity, 403 for a foreign workspace, 404."""
        workspace = model.partition("/")[0]
        if not re.match(ENTITY, model) or workspace not in self._workspaces:
            meant = would_do(model, self._workspaces)
            message = (
                f"{model!r} names no entity: it is workspace/name, of lower-case letters, digits "
                f"and hyphens, 2 to 63 characters each, such as {meant}."
            )
            raise Refused(422, message, "model")
        if not self.sees(name, model):
            raise Refused(403, f"This key may not use the workspace {workspace}.", "model")
        if model not in self._models:
            raise Refused(404, f"The model {model!r} does not exist.", "model")

    def check_at(self, provider: str, name: str, model: str) -> None:
        """Likewise for a model by its name at a provider. Raises Refused (400, 403)."""
        if "," in model:  # LiteLLM would ask several
            raise Refused(400, "A model's name has no comma.", "model")
        if not self._sees_all(name) and model not in self.models_at(provider, name):
            message = (
                f"This key may not use {model!r} at {provider}: none of its entities leads there."
            )
            raise Refused(403, message, "model")

    def models_at(self, provider: str, name: str) -> list[str]:
        """What the models that the key's entities lead to are called at a provider."""
        targets = [target for entity in self._models if self.sees(name, entity)
                   for target in self._models[entity]]  # fmt: skip
        return list(dict.fromkeys(one.model for one in targets if one.provider == provider))

    def sees(self, name: str, entity: str) -> bool:
        """Whether the entity's workspace is one of the key's."""
        return self._sees_all(name) or entity.partition("/")[0] in (
            self._keys[name].workspaces or ()
        )

    def _sees_all(self, name: str) -> bool:
        key = self._keys.get(name)
        return not key or key.workspaces is None


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
