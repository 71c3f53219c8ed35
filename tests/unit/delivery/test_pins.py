import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_ops.delivery.pins import BadPinFile, Pin, difference, read_pin, write_pin

FIRST = """\
# who owns this: team shop
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: shop
resources: [deployment.yaml]
images:
- name: shop/web   # as in deployment.yaml
- name: shop/sidecar
  newTag: "3"
"""
PATH = "apps/web/dev/kustomization.yaml"
PIN = Pin("sha256:" + "a" * 64, "0" * 39 + "1")
REGISTRY = "harbor.example.com/shop/web"


def test_nothing_is_pinned_before_the_first_release() -> None:
    assert read_pin(FIRST, "shop/web", PATH) is None


def test_what_is_written_is_read_back_and_the_rest_stays() -> None:
    after = write_pin(FIRST, "shop/web", PATH, PIN, REGISTRY)
    assert read_pin(after, "shop/web", PATH) == PIN
    assert "# who owns this: team shop" in after
    assert "# as in deployment.yaml" in after
    assert 'newTag: "3"' in after
    assert f'"{PIN.commit}"' in after, "a hash of digits only must not become a number"


def test_a_tag_gives_way_to_the_digest() -> None:
    tagged = FIRST.replace("- name: shop/web ", '- newTag: "1.2"\n  name: shop/web ')
    after = write_pin(tagged, "shop/web", PATH, PIN, REGISTRY)
    assert "1.2" not in after
    assert read_pin(after, "shop/web", PATH) == PIN


def test_the_same_pin_changes_nothing() -> None:
    once = write_pin(FIRST, "shop/web", PATH, PIN, REGISTRY)
    twice = write_pin(once, "shop/web", PATH, PIN, REGISTRY)
    assert twice == once
    assert difference(once, twice, PATH) == ""


@given(
    digest=st.from_regex(r"\Asha256:[0-9a-f]{64}\Z"),
    commit=st.from_regex(r"\A[0-9a-f]{40}\Z"),
)
def test_any_pin_survives_the_round_trip(digest: str, commit: str) -> None:
    assert read_pin(write_pin(FIRST, "shop/web", PATH, Pin(digest, commit), REGISTRY), "shop/web", PATH) == Pin(
        digest, commit
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("images: [", "not valid YAML"),
        ("just text", "0 entries"),
        ("images: [{name: shop/web}, {name: shop/web}]", "2 entries"),
        ("images: [{name: shop/web, digest: latest}]", "both must be there"),
        (f"images: [{{name: shop/web, digest: 'sha256:{'a' * 64}'}}]", "both must be there"),
    ],
)
def test_a_file_we_do_not_understand_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadPinFile, match=said):
        read_pin(text, "shop/web", PATH)
