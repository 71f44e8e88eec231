import pytest

from vllm_worker.gateway.access import NOBODY, Access, Refused
from vllm_worker.gateway.file import GatewayFile


@pytest.fixture
def access(keyed_file: GatewayFile) -> Access:
    return Access(keyed_file, keyed_file.models, {"ALICE_KEY": "alice's"})


def test_a_key_is_known_by_its_text_or_its_hash(access: Access) -> None:
    assert access.name_of("alice's") == "alice"
    assert access.name_of(" bob ") == "bob"


@pytest.mark.parametrize("token", ["", "alice", "ALICE's", "alice's1", "\udc00"])
def test_another_key_is_nobodys(token: str, access: Access) -> None:
    with pytest.raises(Refused) as refused:
        access.name_of(token)
    assert refused.value.status == 401


def test_without_keys_anyone_may_ask(keyed_file: GatewayFile) -> None:
    open_file = keyed_file.model_copy(update={"keys": {}})
    access = Access(open_file, keyed_file.models, {})
    assert access.name_of("") == NOBODY
    access.check(NOBODY, "default/llama")


@pytest.mark.parametrize(
    ("name", "model", "status", "says"),
    [
        ("alice", "default/llama", 403, "may not use the workspace default"),
        ("alice", "team-a/other", 404, "does not exist"),
        ("bob", "default/other", 404, "does not exist"),
        ("bob", "llama", 422, "default/llama"),
        ("bob", "meta/llama", 422, "default/meta-llama"),
        ("bob", "meta/Llama-3.3-70B", 422, "default/meta-llama-3-3-70b"),
        ("bob", "team-a/Llama 3", 422, "team-a/llama-3"),
        ("bob", "", 422, "default/model"),
    ],
)
def test_what_a_key_may_not_ask_for(
    name: str, model: str, status: int, says: str, access: Access
) -> None:
    with pytest.raises(Refused, match=says) as refused:
        access.check(name, model)
    assert refused.value.status == status
    assert refused.value.param == "model"


def test_what_it_may(access: Access) -> None:
    access.check("alice", "team-a/llama")
    access.check("bob", "default/llama")


@pytest.mark.parametrize(("provider", "model"), [("pod", "big"), ("other", "m"), ("other", "big")])
def test_at_a_provider_a_key_of_some_workspaces_may_use_what_their_entities_lead_to(
    provider: str, model: str, access: Access
) -> None:
    access.check_at("pod", "alice", "m")
    with pytest.raises(Refused, match=provider) as refused:
        access.check_at(provider, "alice", model)
    assert refused.value.status == 403


def test_at_a_provider_a_key_of_all_workspaces_may_use_anything(access: Access) -> None:
    access.check_at("other", "bob", "an adapter")


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_a_comma_makes_no_second_model(name: str, access: Access) -> None:
    with pytest.raises(Refused, match="comma") as refused:
        access.check_at("pod", name, "m,provider:pod/m")
    assert refused.value.status == 400


def test_models_at_a_provider_are_those_of_the_keys_entities(access: Access) -> None:
    assert access.models_at("pod", "alice") == ["m"]
    assert access.models_at("pod", "bob") == ["big", "m"]
    assert access.models_at("other", "alice") == []
