"""The answer at `/`: where requests go, for a program as JSON and for a browser as a page."""

from collections.abc import Mapping
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from vllm_worker.web.requests import json_response

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>vLLM worker</title>
<style>body {{ font: 16px/1.5 sans-serif; max-width: 45em; margin: 3em auto; padding: 0 1em }}
pre {{ background: #eee; padding: 1em; overflow-x: auto }} dt {{ font-weight: bold }}</style>
<h1>A vLLM worker answers here</h1>
<dl>{places}</dl>
<pre>curl {origin}/v1/chat/completions -H 'Content-Type: application/json' \\
  -d '{{"messages": [{{"role": "user", "content": "Hello"}}]}}'</pre>
<p>Where the worker asks for keys, add <code>-H "Authorization: Bearer KEY"</code>.</p>
"""


def welcome(request: Request, places: Mapping[str, str]) -> Response:
    """`places` has paths by what is there."""
    if "text/html" not in request.headers.get("accept", ""):
        return json_response(places)
    origin = escape(origin_of(request))
    items = (f"<dt>{escape(name)}</dt><dd>{origin}{path}</dd>" for name, path in places.items())
    return HTMLResponse(_PAGE.format(places="".join(items), origin=origin))


def origin_of(request: Request) -> str:
    """`http://host:port`, as the client has it, also behind a proxy that speaks HTTPS."""
    secure = request.headers.get("x-forwarded-proto", "").lower() == "https"
    return f"{'https' if secure else request.url.scheme}://{request.url.netloc}"
