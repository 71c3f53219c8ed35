"""Who is who in git, GitLab and Airflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from platform_ops.common.documents import BadDocument, load_document
from platform_ops.common.errors import Refused
from platform_ops.common.settings import include


class UnknownPerson(Refused):
    """Somebody took part whom the identities file doesn't know, so nobody can say whether they may approve."""


@dataclass(frozen=True, slots=True)
class Person:
    """One person or bot.

    :param emails: in lower case.
    :param airflow: None for those who have no Airflow account, such as bots.
    """

    name: str
    emails: frozenset[str]
    gitlab: str
    airflow: str | None


@dataclass(frozen=True, slots=True)
class Identities:
    """Everybody in ``include/identities.yaml``."""

    people: tuple[Person, ...]

    def by_email(self, email: str) -> Person:
        """Return who writes under an address.

        :raises UnknownPerson: nobody known.
        """
        return self._one(f"The address {email}", (p for p in self.people if email.lower() in p.emails))

    def by_gitlab(self, user: str) -> Person:
        """Return who has a GitLab user name.

        :raises UnknownPerson: nobody known.
        """
        found = (p for p in self.people if p.gitlab.casefold() == user.casefold())
        return self._one(f"The GitLab user {user}", found)

    def by_airflow(self, account: str) -> Person | None:
        """Return who has an Airflow account; None for service accounts and strangers."""
        known = ((person, person.airflow) for person in self.people)
        return next((person for person, its in known if its and its.casefold() == account.casefold()), None)

    @staticmethod
    def _one(who: str, found: Iterable[Person]) -> Person:
        person = next(iter(found), None)
        if person is None:
            raise UnknownPerson(
                f"{who} is not in include/identities.yaml. Enter the person there (a bot without an Airflow account), "
                "then start again."
            )
        return person


def load_identities() -> Identities:
    """Read the identities file.

    :raises BadDocument: it is not in order, or two entries share a name, an address or an account.
    """
    path = include() / "identities.yaml"
    people = tuple(_person(entry) for entry in load_document(path, "identities.schema.json")["people"])
    owners: dict[str, int] = {}
    for number, person in enumerate(people):
        for key in _told_apart_by(person):
            owner = owners.setdefault(key, number)
            if owner != number:
                raise BadDocument(
                    f"{path.name}: {key} belongs to entry {owner + 1}, {people[owner].name}, and to entry "
                    f"{number + 1}, {person.name}; it can have one owner. Put what is one person's into one entry."
                )
    return Identities(people)


def _told_apart_by(person: Person) -> Iterator[str]:
    """Yield what no other entry may have: two entries of one person would count as two approvers."""
    yield f"the name {' '.join(person.name.split()).casefold()}"
    yield from sorted(person.emails)
    # Neither GitLab nor a directory behind Airflow tells accounts apart by the case of their letters.
    yield f"gitlab:{person.gitlab.casefold()}"
    if person.airflow:
        yield f"airflow:{person.airflow.casefold()}"


def _person(entry: Mapping[str, Any]) -> Person:
    emails = frozenset(email.lower() for email in entry["emails"])
    return Person(entry["name"], emails, entry["gitlab"], entry.get("airflow"))
