"""The short form of `make soak`."""

from pathlib import Path

from tests.soak.__main__ import soak
from tests.soak.rig import running_http_rig, running_rig


def test_of_jobs_in_a_random_mix_nothing_is_left(tmp_path: Path) -> None:
    with running_rig(tmp_path, max_concurrency=32) as rig:
        assert soak(rig, jobs=250, warm_up=80, seed=1) == []


def test_of_http_requests_in_a_random_mix_nothing_is_left(tmp_path: Path) -> None:
    with running_http_rig(tmp_path, max_concurrency=32) as rig:
        assert soak(rig, jobs=250, warm_up=80, seed=1) == []
