"""Who may import whom, who may touch other people's code, and how large a room may be.

A finding is printed as `file:line: rule`. CONTRIBUTING.md says how to read and to change the rules.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.tree import ROOT, files, text

SOURCE = ROOT / "src" / "vllm_worker"

LIGHT = {"errors", "streaming", "decoding", "jobs", "engine.protocol", "engine.asgi_client"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "probes": set(),
    "streaming": set(),
    "jobs.headers": set(),
    "engine.asgi_client": set(),
    "web": set(),
    "playground": {"web"},
    "local_endpoint": {"jobs.headers", "web", "playground"},
    "jobs": {"errors", "jobs.headers"},
    "decoding": {"errors", "jobs"},
    "engine.protocol": {"jobs", "decoding", "streaming", "engine.asgi_client"},
    "observability": {"errors", "web"},
    "configuration": {"errors", "streaming", "decoding"},
    "gpu_memory": {"errors", "configuration"},
    "gpu_check": {"configuration"},
    "machine": {
        "errors",
        "configuration",
        "engine",
        "engine.patches",
        "gpu_memory",
        "gpu_check",
        "observability",
    },
    "client": {"machine", "web"},
    "gateway": {"errors", "web", "gateway.proxy"},
    "gateway.proxy": {"errors", "web", "gateway"},
    "startup": {"errors", "configuration", "observability"},
    "routes": {*LIGHT, "configuration", "web"},
    # With engine.protocol, since what a patch is told of a request travels as its RequestContext,
    # and with configuration, which knows the installed version.
    "engine.patches": {*LIGHT, "observability", "configuration", "probes"},
    "engine": {*LIGHT, "jobs.headers", "configuration", "observability", "engine.patches"},
    "worker": {"errors", "jobs", "routes", "engine.protocol", "observability", "configuration"},
    "http_server": {
        *LIGHT,
        "web",
        "playground",
        "jobs.headers",
        "worker",
        "routes",
        "configuration",
        "observability",
        "startup",
    },
    "serverless": {
        "errors",
        "worker",
        "configuration",
        "observability",
        "local_endpoint",
        "probes",
    },
}
"""Room → the rooms below it. handler.py and __main__.py stand above all of them."""

THIRD_PARTIES = {
    "vllm": ("engine/", "engine/protocol.py", "engine/asgi_client.py"),
    "runpod": ("serverless/",),
    "litellm": ("gateway/proxy/",),
}
"""Package → the folder that may import it, and the files in there that may not."""

MAY_REPLACE = ("engine/patches/", "serverless/job_loop.py", "serverless/results.py")
"""Where attributes of imported names may be assigned to."""

MAY_USE_ENVIRON = (
    "client/commands/doctor.py",
    "client/commands/profiles.py",
    "client/options.py",
    "configuration/adapters.py",
    "configuration/derived.py",
    "engine/application.py",
    "gateway/__main__.py",
    "gateway/proxy/app.py",
    "engine/log_config.py",
    "engine/media_connector.py",
    "engine/patches/",
    "local_endpoint/__main__.py",
    "local_endpoint/process.py",
    "machine/commands.py",
    "serverless/fitness.py",
    "serverless/queue.py",
    "serverless/run.py",
)

LONGEST_MODULE = 300
MOST_MODULES = 16
MOST_IN_ROOT = 5

MODULES = files("src/vllm_worker/**/*.py")


def rooms_of(dotted: str) -> list[str]:
    """A module's room and those that it is part of, the smallest first."""
    parts = dotted.split(".")
    names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return [name for name in names if name in MAY_IMPORT]


def find_violations(path: str, source: str) -> Iterator[str]:
    """Those of a module at `path`, relative to the package."""
    tree = ast.parse(source)
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            for rule in broken_by_import(path, node):
                yield f"src/vllm_worker/{path}:{node.lineno}: {rule}"
    for node in ast.walk(tree):
        for rule in broken_by_statement(path, node, imported):
            yield f"src/vllm_worker/{path}:{node.lineno}: {rule}"  # type: ignore[attr-defined]


def broken_by_import(path: str, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    for name in imported_modules(node):
        package, _, inside = name.partition(".")
        if package == "vllm_worker" and inside:
            yield from broken_by_room(path, inside)
        private = package in ("fastapi", "starlette") and "._" in name
        if private and not path.startswith("engine/patches/"):
            yield f"{package}'s own modules are not for us: {name}"
        folder, *but = THIRD_PARTIES.get(package, ("",))
        if not path.startswith(folder) or path in but:
            yield f"only {folder} imports {package}"


def imported_modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert not node.level, "imports are absolute"
    module = node.module or ""
    return [f"{module}.{alias.name}" if is_module(module, alias.name) else module
            for alias in node.names]  # fmt: skip


def is_module(package: str, name: str) -> bool:
    folder = SOURCE.parent / package.replace(".", "/")
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def broken_by_room(path: str, inside: str) -> Iterator[str]:
    here = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    room, *_ = rooms_of(here) or [""]
    there, *_ = rooms_of(inside) or [inside]
    if room and there != room and there not in MAY_IMPORT[room]:
        yield f"{room} may not import {there}"


def broken_by_statement(path: str, node: ast.AST, imported: set[str]) -> Iterator[str]:
    if not path.startswith(MAY_REPLACE):
        for name in assigned_attributes(node):
            if name.partition(".")[0] in imported:
                yield f"only {', '.join(MAY_REPLACE)} replace an attribute: {name}"
    if (
        isinstance(node, ast.Attribute)
        and ast.unparse(node) == "os.environ"
        and not path.startswith(MAY_USE_ENVIRON)
    ):
        yield "os.environ is only for the beginning of a process"


def assigned_attributes(node: ast.AST) -> Iterator[str]:
    targets: list[ast.expr] = []
    match node:
        case ast.Assign(targets=found) | ast.Delete(targets=found):
            targets = found
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
            targets = [target]
        case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[target, *_]):
            yield f"{ast.unparse(target)}.…"
    for target in targets:
        for part in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
            if isinstance(part, ast.Attribute):
                yield ast.unparse(part)


def test_the_rules_hold() -> None:
    found = [
        line
        for module in MODULES
        for line in find_violations(module.relative_to(SOURCE).as_posix(), text(module))
    ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("path", "line", "rule"),
    [
        ("jobs/inputs.py", "from vllm_worker.streaming.schedule import Schedule", "may not import"),
        ("streaming/chunker.py", "import vllm_worker.errors", "may not import"),
        ("local_endpoint/app.py", "from vllm_worker.jobs.inputs import Job", "may not import"),
        ("routes/openai.py", "from vllm_worker.engine import vllm_engine", "may not import"),
        ("routes/openai.py", "from vllm import LLM", "only engine/ imports vllm"),
        ("engine/protocol.py", "    import vllm.config", "only engine/ imports vllm"),
        ("jobs/audio.py", "from runpod.serverless import utils", "only serverless/ imports runpod"),
        ("worker.py", "from starlette._utils import x", "own modules are not for us"),
        ("worker.py", "import json\njson.dumps = None", "replace an attribute: json.dumps"),
        ("worker.py", "import a.b\na.b.c, d = 1, 2", "replace an attribute: a.b.c"),
        ("worker.py", "from a import b\nsetattr(b, 'c', 1)", "replace an attribute: b.…"),
        ("worker.py", "from a import b\ndel b.c", "replace an attribute: b.c"),
        ("worker.py", "import os\nx = os.environ['A']", "os.environ is only for"),
    ],
)  # fmt: skip
def test_every_kind_of_violation_is_found(path: str, line: str, rule: str) -> None:
    source = f"def f():\n{line}" if line.startswith(" ") else line
    (found, *_) = find_violations(path, source)
    assert found.startswith(f"src/vllm_worker/{path}:")
    assert rule in found


def test_every_module_has_a_room() -> None:
    homeless = {
        name
        for module in MODULES
        if not rooms_of(name := ".".join(module.relative_to(SOURCE).with_suffix("").parts))
    }
    assert homeless == {"__init__", "__main__"}


def test_rooms_are_small() -> None:
    for module in MODULES:
        lines = len(text(module).splitlines())
        assert lines <= LONGEST_MODULE, f"{module.relative_to(ROOT)} has {lines} lines"
    for folder in {module.parent for module in MODULES}:
        modules = len(list(folder.glob("*.py")))
        assert modules <= MOST_MODULES, f"{folder.relative_to(ROOT)} has {modules} modules"
    assert len(list(SOURCE.glob("*.py"))) <= MOST_IN_ROOT


def test_a_package_says_nothing_by_itself() -> None:
    """Its `__init__` is empty, or names again what is in its modules."""
    for init in SOURCE.rglob("__init__.py"):
        for node in ast.parse(init.read_text()).body:
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_name = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("__")
            assert is_text or is_name or isinstance(node, ast.ImportFrom), init


def test_worker_routes_and_protocol_need_neither_vllm_nor_the_sdk() -> None:
    program = (
        "import sys\n"
        "sys.modules.update({'vllm': None, 'runpod': None, 'torch': None})\n"
        "import vllm_worker.worker, vllm_worker.routes.openai, vllm_worker.routes.native\n"
        "import vllm_worker.engine.protocol, vllm_worker.serverless.lifecycle\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
