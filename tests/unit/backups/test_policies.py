"""Contradictions stop a backup before a byte moves; what is only unwise is told."""

from datetime import timedelta

import pytest

from platform_ops.backups.kinds.shape import Shares
from platform_ops.backups.kinds.table import KINDS
from platform_ops.backups.policies import SHARING, check
from platform_ops.backups.sources import Retention, Tier
from platform_ops.systems.object_store.models import BucketRules

SOUND = BucketRules(versioning=True, lock=None, expires=None)
BOTH = ("age1a", "age1b")


def days(number: int) -> timedelta:
    return timedelta(days=number)


def test_a_sound_source_is_told_nothing(source) -> None:
    assert check(source, SOUND, BOTH) == check(source, SOUND, BOTH).__class__((), ())


@pytest.mark.parametrize(
    ("fields", "rules", "recipients", "words"),
    [
        ({"retention": Retention(0, 0, 0, 0)}, SOUND, BOTH, "keeps nothing"),
        ({"lock": days(40)}, BucketRules(True, days(40), None), BOTH, "when they are 22 d old"),
        # The newest of this month may be of yesterday.
        ({"lock": days(8), "retention": Retention(7, 0, 1, 1)}, BucketRules(True, days(8), None), BOTH, "7 d old"),
        ({"lock": days(7)}, SOUND, BOTH, "has no default retention"),
        ({"lock": days(7)}, BucketRules(True, days(3), None), BOTH, "locks for 3 d"),
        ({}, BucketRules(True, None, days(10)), BOTH, "deletes after 10 d"),
        ({}, BucketRules(True, None, days(0)), BOTH, "deletes after 0.0 s"),
        ({"kind": "bucket"}, BucketRules(True, None, days(9999)), BOTH, "its first one stored"),
        ({"drill_every": days(60)}, SOUND, BOTH, "no point is kept for that long"),
        ({}, SOUND, (), "names no recipient"),
    ],
)
def test_what_contradicts_itself_stops(changed, fields, rules: BucketRules, recipients, words: str) -> None:
    found = check(changed(**fields), rules, recipients).contradictions
    assert any(words in sentence for sentence in found)


@pytest.mark.parametrize(
    ("fields", "rules", "recipients", "words"),
    [
        ({}, SOUND, ("age1a",), "second holder"),
        ({}, SOUND, None, "unencrypted"),
        ({}, BucketRules(False, None, None), BOTH, "keeps no versions"),
        ({"rpo": timedelta(hours=2), "tier": Tier.NIGHTLY}, SOUND, BOTH, "its target of 2 h for lost data is missed"),
        ({"rpo": timedelta(hours=1), "tier": Tier.HOURLY}, SOUND, BOTH, "its target of 1 h for lost data is missed"),
        ({}, BucketRules(True, days(3650), None), BOTH, "locks for 3650 d"),
    ],
)
def test_what_is_unwise_is_told(changed, fields, rules: BucketRules, recipients, words: str) -> None:
    found = check(changed(**fields), rules, recipients)
    assert found.contradictions == ()
    assert any(words in sentence for sentence in found.warnings)


def test_a_lock_that_fits_is_fine(changed) -> None:
    assert check(changed(kind="git", lock=days(7)), BucketRules(True, days(7), days(400)), BOTH).contradictions == ()


def test_the_kinds_that_share_contents_are_known(changed) -> None:
    what = {"bucket": "b", "databases": ["d"], "path": "/p", "project": "g/p", "projects": ["g/p"], "group": "g"}
    made = {name: kind(changed(kind=name, what=what, connection="c")) for name, kind in KINDS.items()}
    shares = {name for name, kind in made.items() if isinstance(kind, Shares)}
    assert shares == SHARING
