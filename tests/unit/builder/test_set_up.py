import pytest

from builder import set_up


def pins(name: str) -> set[str]:
    return set((set_up.REQUIREMENTS / name).read_text().splitlines())


@pytest.mark.parametrize("build", ["cpu", "cuda"])
def test_what_tests_need_can_be_installed_beside_each_build(build: str) -> None:
    locks = [(set_up.REQUIREMENTS / f"{name}.txt").read_text() for name in (build, "dev")]
    shared = set.intersection(*map(set_up.packages_of, locks))
    differing = pins("dev.txt") - pins(f"{build}.txt")
    assert not [pin for pin in differing if pin.partition("==")[0] in shared]
