"""Names of entities: `workspace/name`, as in NeMo's gateway.

Each part is of lower-case letters, digits and hyphens, 2 to 63 characters.
"""

import re
from collections.abc import Collection

PART = r"^[a-z0-9-]{2,63}$"
ENTITY = r"^[a-z0-9-]{2,63}/[a-z0-9-]{2,63}$"
_DEFAULT = "default"


def would_do(text: str, workspaces: Collection[str] = (_DEFAULT,)) -> str:
    """The entity that comes nearest to another name, such as a vendor's `meta/llama-3.3`."""
    workspace, _, name = text.partition("/")
    if not name or workspace not in workspaces:
        workspace, name = _DEFAULT, text
    name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63]
    return f"{workspace}/{name if len(name) > 1 else 'model'}"
