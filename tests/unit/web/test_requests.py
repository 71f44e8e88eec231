"""What is read of requests."""

import pytest
from starlette.datastructures import Headers

from vllm_worker.web.requests import RequestError, parse_form

FORM = b'--a\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n%b\r\n--a--\r\n'


@pytest.mark.parametrize("charset", ["", "; charset=punycode", "; charset=undefined"])
async def test_a_form_is_utf8_whatever_it_says(charset: str) -> None:
    """Some of Python's decoders take minutes for a long text."""
    headers = Headers({"content-type": f"multipart/form-data; boundary=a{charset}"})
    text = "é-" + "ba" * 100_000
    assert await parse_form(headers, FORM % text.encode()) == {"prompt": text}


async def test_a_form_has_a_boundary() -> None:
    with pytest.raises(RequestError, match="no boundary"):
        await parse_form(Headers({"content-type": "multipart/form-data"}), FORM % b"x")
