"""Named endpoints in a file."""

from pathlib import Path

import pytest

from vllm_worker.client.errors import ClientError
from vllm_worker.client.profiles import (
    Profile,
    Profiles,
    file_of,
    load,
    masked,
    runpod_key,
    save,
)


def test_profiles_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "profiles.toml"
    odd = Profile(url="http://h", api_key='a "quoted" \\ key', model="ü")
    profiles = Profiles({"work": Profile("abc", api_key="k"), "with space": odd}, use="work")
    save(profiles, file)
    assert load(file) == profiles
    save(Profiles(), file)
    assert load(file) == Profiles()


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text("")
    file.chmod(0o644)
    file.with_suffix(".new").write_text("left by one that was killed")
    save(Profiles({"a": Profile("abc", api_key="secret")}), file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["profiles.toml"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("use = ", "cannot be read"),
        ("profiles = 3", "a profile is a table with endpoint, url, api_key, model"),
        ("[profiles]\na = 1", "a profile is a table with"),
        ("[profiles.a]\nhost = 'h'", "a profile is a table with"),
        ("[profiles.a]\nurl = 5", "all texts"),
        ("use = ['a']", "use is the name of one"),
    ],
)
def test_a_mistake_in_the_file_is_said(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(content)
    with pytest.raises(ClientError, match=said):
        load(file)


def test_a_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real.toml", tmp_path / "profiles.toml"
    link.symlink_to(real)
    save(Profiles({"é": Profile("abc")}), link)
    assert link.is_symlink()
    assert load(real).named == {"é": Profile("abc")}


@pytest.mark.parametrize("profile", [Profile(), Profile("abc", "http://h")])
def test_a_profile_leads_to_one_place(profile: Profile) -> None:
    with pytest.raises(ClientError, match="either an endpoint or a url"):
        Profiles({"a": profile}).find("a")


def test_a_name_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(ClientError, match="no profile 'b'; there are a"):
        Profiles({"a": Profile("abc")}).find("b")


def test_the_file_is_where_configuration_goes(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert file_of(home) == tmp_path / ".config/vllm-worker/profiles.toml"
    assert file_of(home | {"XDG_CONFIG_HOME": "/x"}) == Path("/x/vllm-worker/profiles.toml")


def test_a_key_is_shown_by_its_end_if_at_all() -> None:
    assert masked(None) == "-"
    assert masked("short") == "…"
    assert masked("rpa_0123456789abcd") == "…abcd"


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ('[default]\napi_key = "of-the-sdk"', "of-the-sdk"),
        ("apikey = 'of-runpodctl'", "of-runpodctl"),
        ("default = 3", None),
        ("not toml", None),
        ("apikey = 3", None),
    ],
)
def test_runpods_key_is_found_where_its_tools_keep_it(
    tmp_path: Path, content: str, key: str | None
) -> None:
    environ = {"HOME": str(tmp_path)}
    assert runpod_key(environ) is None
    (tmp_path / ".runpod").mkdir()
    (tmp_path / ".runpod" / "config.toml").write_text(content)
    assert runpod_key(environ) == key
    assert runpod_key(environ | {"RUNPOD_API_KEY": "of-the-environment"}) == "of-the-environment"
