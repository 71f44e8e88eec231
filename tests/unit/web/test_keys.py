"""Keys of the HTTP doors."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

from vllm_worker.web.keys import Keys


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        (bearer("one"), "key-1"),
        ({"authorization": "bearer  two "}, "key-2"),
        ({"x-api-key": "two"}, "key-2"),
        ({}, None),
        (bearer(""), None),
        (bearer("one "), "key-1"),
        (bearer("on"), None),
        (bearer("oneone"), None),
        ({"authorization": "Basic one"}, None),
        ({"authorization": "one"}, None),
        (bearer("\xffone"), None),
        ({"authorization": "Bearer of-runpod", "x-api-key": "one"}, "key-1"),
        (bearer("one,two"), None),
    ],
)
def test_a_key_is_known_or_not(headers: dict[str, str], name: str | None) -> None:
    assert Keys(["one", "two"]).name_of(headers) == name


def test_without_keys_everybody_is_let_in() -> None:
    assert not Keys([]).required
    assert Keys([]).name_of({}) == ""


def test_a_file_of_keys_and_hashes_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    digest = sha256(b"hashed").hexdigest()
    hexadecimal = "0123456789abcdef" * 4
    file.write_text(
        f"# ours\nalice plain  # the first\n\nbob sha256:{digest}\n"
        f"hex {hexadecimal}\nsharp a#b\nkey another\nunicode schl\u00fcssel\n"
    )
    keys = Keys(["own"], file)
    assert keys.name_of(bearer("plain")) == "alice"
    assert keys.name_of(bearer("hashed")) == "bob"
    assert keys.name_of(bearer("own")) == "key"
    assert keys.name_of(bearer(digest)) is None
    assert keys.name_of(bearer(hexadecimal)) == "hex"
    assert keys.name_of(bearer("a#b")) == "sharp"
    assert keys.name_of(bearer("a")) is None
    assert keys.name_of(bearer("another")) == "key"
    sent = "schl\u00fcssel".encode().decode("latin-1")  # as a header is read
    assert keys.name_of(bearer(sent)) == "unicode"
    file.write_text("carol new-one\n")
    os.utime(file, (2e9, 2e9))
    assert keys.name_of(bearer("new-one")) == "carol"
    assert keys.name_of(bearer("plain")) is None
    file.unlink()
    assert keys.name_of(bearer("new-one")) == "carol"  # until there is a file again


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("only-a-key", "line 1 must have a name and a key"),
        ("a k\na l", "line 2 has the name of a line before it"),
        ("a b c", "line 1 must have"),
        ("a sha256:12", "line 1 must have 64 hexadecimal digits after sha256:"),
    ],
)
def test_a_file_that_is_wrong_is_said_without_its_keys(
    tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(ValueError, match=says) as raised:
        Keys([], file)
    assert "only-a-key" not in str(raised.value)
    with pytest.raises(ValueError, match="No such file"):
        Keys([], tmp_path / "nothing")


def test_a_change_that_cannot_be_read_is_said_once_and_changes_nothing(
    tmp_path: Path, worker_log: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text("alice first\n")
    keys = Keys([], file)
    file.write_text("alice first\nbob\n")
    for _ in range(3):
        assert keys.name_of(bearer("first")) == "alice"
    assert worker_log.text.count("line 2 must have a name and a key") == 1
    file.write_text("bob second\n")
    assert keys.name_of(bearer("first")) is None
    assert keys.name_of(bearer("second")) == "bob"


def test_a_file_that_was_put_in_its_place_is_another(tmp_path: Path) -> None:
    file, other = tmp_path / "keys", tmp_path / "other"
    for path, key in ((file, "key-one"), (other, "key-two")):
        path.write_text(f"carol {key}\n", "utf-8-sig")
        os.utime(path, (1, 1))
    keys = Keys([], file)
    assert keys.name_of(bearer("key-one")) == "carol"
    other.rename(file)
    assert keys.name_of(bearer("key-one")) is None
    assert keys.name_of(bearer("key-two")) == "carol"


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "keys")
    with pytest.raises(ValueError, match="is not a regular file"):
        Keys([], tmp_path / "keys")
