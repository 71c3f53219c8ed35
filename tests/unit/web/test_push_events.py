from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_ops.web.push_events import BadEvent, Ignored, StartRun, decide

COMMIT = "4f1d2c9a7be3508fd6a1c0e2b94837f5a6d0c1e8"


@dataclass(frozen=True)
class Entry:
    name: str = "storefront"
    branches: dict[str, str] = field(default_factory=lambda: {"dev": "dev", "rc": "rc", "prod": "master"})


def services(project: str):
    return {"shop/storefront": (Entry(),), "shop/both": (Entry("one"), Entry("two", {"dev": "dev", "rc": "dev"}))}.get(
        project, ()
    )


def push(**changes):
    event = {
        "object_kind": "push",
        "ref": "refs/heads/dev",
        "after": COMMIT,
        "user_username": "dana",
        "project": {"path_with_namespace": "shop/storefront"},
    }
    return {**event, **changes}


@pytest.mark.parametrize("environment", ["dev", "rc"])
def test_a_push_starts_a_release(environment):
    assert decide(push(ref=f"refs/heads/{environment}"), services) == (
        StartRun(
            f"release__storefront__{environment}__4f1d2c9a7be3",
            {
                "service": "storefront",
                "environment": environment,
                "commit": COMMIT,
                "reason": f"push by dana to {environment}",
            },
        ),
    )


def test_every_service_and_environment_of_the_branch_is_started():
    runs = decide(push(project={"path_with_namespace": "shop/both"}), services)
    assert [run.run_id for run in runs] == [
        "release__one__dev__4f1d2c9a7be3",
        "release__two__dev__4f1d2c9a7be3",
        "release__two__rc__4f1d2c9a7be3",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"ref": "refs/heads/master"},
        {"ref": "refs/heads/feature/x"},
        {"ref": "refs/tags/dev"},
        {"ref": "dev"},
        {"ref": "refs/heads/"},
        {"ref": "refs/heads/dev\n"},
        {"after": "0" * 40},
        {"project": {"path_with_namespace": "shop/other"}},
        {"object_kind": "tag_push"},
    ],
)
def test_what_concerns_nobody_is_ignored(changes):
    assert isinstance(decide(push(**changes), services), Ignored)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"after": COMMIT[:12]}, "after"),
        ({"after": COMMIT + "\n"}, "after"),
        ({"after": COMMIT.upper()}, "after"),
        ({"after": None}, "after"),
        ({"ref": 7}, "ref"),
        ({"project": []}, "project.path_with_namespace"),
        ({"project": {"path_with_namespace": ["x"]}}, "project.path_with_namespace"),
    ],
)
def test_a_push_that_is_not_in_order_names_the_field(changes, where):
    with pytest.raises(BadEvent) as caught:
        decide(push(**changes), services)
    assert caught.value.field == where


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a{{x}}<b>\n", "axb"),
        ("x" * 100, "x" * 64),
        ("\u202eäö", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
        (7, "unknown"),
    ],
)
def test_the_name_in_the_reason_is_harmless(name, kept):
    (run,) = decide(push(user_username=name), services)
    assert run.conf["reason"] == f"push by {kept} to dev"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "object_kind": st.just("push") | JSON,
            "ref": st.sampled_from(["refs/heads/dev", "refs/heads/rc", "refs/heads/master"]) | JSON,
            "after": st.text("0123456789abcdefX", min_size=39, max_size=41) | JSON,
            "user_username": JSON,
            "project": st.just({"path_with_namespace": "shop/storefront"}) | JSON,
        },
    )
)
def test_whatever_arrives_only_well_formed_runs_start(event):
    try:
        decision = decide(event, services)
    except BadEvent:
        return
    if isinstance(decision, Ignored):
        return
    for run in decision:
        assert re.fullmatch(r"release__storefront__(dev|rc)__[0-9a-f]{12}", run.run_id)
        assert set(run.conf) == {"service", "environment", "commit", "reason"}
        assert run.conf["environment"] in ("dev", "rc")
        assert re.fullmatch(r"push by [A-Za-z0-9_.-]{1,64} to (dev|rc)", run.conf["reason"])
