"""The part of Hugging Face's Hub that a download needs."""

import hashlib

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

COMMIT = "a" * 40


FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"[]",
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"the same weights",
    "original/consolidated.00.pth": b"the same again",
    "README.md": b"words",
}


class Hub:
    """The Hub's routes that a download needs; `asked` is what was fetched, `tokens` by whom."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        self.url = ""
        info = Route("/api/models/{owner}/{name}/revision/{revision}", self.info)
        plain = Route("/api/models/{owner}/{name}", self.info)
        file = Route("/{owner}/{name}/resolve/{revision}/{path:path}", self.file)
        tree = Route("/api/models/{owner}/{name}/tree/{revision}", self.tree)
        self.app = Starlette(routes=[info, plain, tree, file])

    async def info(self, request: Request) -> Response:
        self.tokens.add(request.headers.get("authorization"))
        if request.path_params["name"] == "gated":
            return Response("no", 403, headers={"X-Error-Code": "GatedRepo"})
        if request.path_params["name"] != "small":
            return Response("no", 404, headers={"X-Error-Code": "RepoNotFound"})
        if request.path_params.get("revision", "main") not in ("main", COMMIT):
            return Response("no", 404, headers={"X-Error-Code": "RevisionNotFound"})
        siblings = [{"rfilename": name, "size": len(data)} for name, data in FILES.items()]
        return JSONResponse({"id": "owner/small", "sha": COMMIT, "siblings": siblings})

    async def tree(self, request: Request) -> Response:
        return JSONResponse(
            [{"type": "file", "path": p, "size": len(d), "oid": "b" * 40} for p, d in FILES.items()]
        )

    async def file(self, request: Request) -> Response:
        data = FILES[request.path_params["path"]]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(data).hexdigest()}"'}
        if request.method == "HEAD":
            return Response(headers=headers | {"Content-Length": str(len(data))})
        self.asked.append(request.path_params["path"])
        return Response(data, headers=headers)
