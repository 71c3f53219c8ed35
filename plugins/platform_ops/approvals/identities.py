"""Who is who in git, GitLab and Airflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
        return self._one(f"The GitLab user {user}", (p for p in self.people if p.gitlab == user))

    def by_airflow(self, account: str) -> Person | None:
        """Return who has an Airflow account; None for service accounts and strangers."""
        return next((person for person in self.people if person.airflow == account), None)

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

    :raises BadDocument: it is not in order, or gives one address or account to two people.
    """
    path = include() / "identities.yaml"
    people = tuple(_person(entry) for entry in load_document(path, "identities.schema.json")["people"])
    owners: dict[str, str] = {}
    for person in people:
        for key in (
            *person.emails,
            f"gitlab:{person.gitlab}",
            *([f"airflow:{person.airflow}"] if person.airflow else []),
        ):
            if owners.setdefault(key, person.name) != person.name:
                raise BadDocument(
                    f"{path.name}: {key} belongs to {owners[key]} and to {person.name}; it can have one owner."
                )
    return Identities(people)


def _person(entry: Mapping[str, Any]) -> Person:
    emails = frozenset(email.lower() for email in entry["emails"])
    return Person(entry["name"], emails, entry["gitlab"], entry.get("airflow"))
