"""Dump, restore and compare, by PostgreSQL's own programs against a server of the tests' own."""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from platform_ops.backups.errors import Corrupt, NoPoint
from platform_ops.backups.kinds.postgres import CLUSTER, INVENTORY, ROLES, Postgres, part_name
from platform_ops.backups.kinds.shape import Selection
from platform_ops.common.errors import TryAgain
from platform_ops.systems.postgres.cluster import Cluster
from platform_ops.systems.postgres.errors import DatabaseMissing, ProgramFailed, QueryFailed, ServerGone
from platform_ops.systems.postgres.programs import Programs
from tests.postgres_server import SUPERUSER, Collected, catalogued, end_server, take
from tests.postgres_server import Source as Server
from tests.restore_text import follow, restoring

SHOP = """
CREATE ROLE clerk LOGIN PASSWORD 'nobody-will-guess' CONNECTION LIMIT 7;
CREATE ROLE team; GRANT team TO clerk;
CREATE SCHEMA stock;
CREATE TABLE stock.item (id int PRIMARY KEY, name text, price float8, made timestamptz DEFAULT now(), raw bytea);
INSERT INTO stock.item SELECT n, 'item ' || n, n / 7.0, now(), decode(md5(n::text), 'hex') FROM generate_series(1, 500) n;
CREATE TABLE parent (a int); CREATE TABLE child (b int, z int) INHERITS (parent); ALTER TABLE parent ADD COLUMN c int;
INSERT INTO child (a, b, z, c) VALUES (1, 2, 3, 4);
CREATE TABLE "Odd ""name"" %s" (); INSERT INTO "Odd ""name"" %s" DEFAULT VALUES;
CREATE VIEW cheap AS SELECT * FROM stock.item WHERE price < 10;
CREATE FUNCTION public.twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
ALTER TABLE stock.item OWNER TO clerk;
"""
QUERY = "SELECT count(*), max(name) FROM stock.item"


def kind(*databases: str, query: str | None = None) -> Postgres:
    return Postgres(catalogued(*databases, query=query))


@contextmanager
def restored(target: Path) -> Iterator[Server]:
    """Open a restored cluster, to spoil it."""
    with Cluster(target / CLUSTER, Programs()).running(SUPERUSER) as server:
        yield Server(server)


@pytest.fixture
def shop(postgres: Server) -> Server:
    postgres.make("shop", SHOP)
    return postgres


def test_what_is_restored_is_what_was_backed_up(shop: Server, target: Path) -> None:
    shop.make("Second db")
    before = datetime.now(UTC)
    subject = kind("shop", "Second db", query=QUERY)
    point = take(subject)
    assert sorted(point.parts) == [f"hex-{b'Second db'.hex()}.dump", INVENTORY, ROLES, "shop.dump"]
    assert before <= point.manifest.state_at <= point.manifest.settled_at <= point.manifest.ended_at
    assert point.manifest.state["server"].split(".")[0].isdigit()
    assert "/" in point.manifest.state["lsn"]
    assert point.manifest.state["tables"] == 4
    subject.restore(point, target)
    assert subject.compare(point, target) == []
    with restored(target) as found:
        assert found.sql("SELECT twice(count(*)::int) FROM cheap", "shop") == "138"
        assert found.sql("SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'clerk'") == "t"
        assert found.sql("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'item'", "shop") == "clerk"


def test_nothing_runs_between_restore_and_comparison_or_after(shop: Server, target: Path) -> None:
    subject = kind("shop")
    point = take(subject)
    subject.restore(point, target)
    assert not (target / CLUSTER / "postmaster.pid").exists()
    assert subject.compare(point, target) == []
    assert not (target / CLUSTER / "postmaster.pid").exists()


SPOILT = {
    "UPDATE stock.item SET price = price + 1e-12 WHERE id = 3": """table "stock"."item" has other rows or another answer: 500 rows instead of 500 rows.""",
    "DELETE FROM parent": """table "public"."parent" has other rows or another answer: 0 rows instead of 1 rows.""",
    "DROP TABLE public.child": 'table "public"."child" is missing',
    "CREATE TABLE extra (a int)": 'table "public"."extra" was not backed up, but is there: 0 rows.',
    "DROP VIEW cheap": "Database 'shop': views is missing",
    "DROP FUNCTION twice": "Database 'shop': functions is missing",
    "ALTER TABLE stock.item DROP CONSTRAINT item_pkey": "Database 'shop': constraints is missing",
    "CREATE ROLE intruder SUPERUSER": 'role "intruder" was not backed up, but is there: superuser inherit',
    "REVOKE team FROM clerk": """role "clerk" is 'inherit login limit 7' instead of 'inherit login limit 7 member of""",
    "ALTER ROLE team CREATEROLE": """role "team" is 'inherit createrole' instead of 'inherit'""",
    "DROP ROLE leaver": 'role "leaver" is missing',
}


def test_every_difference_is_found_and_named(shop: Server, target: Path) -> None:
    shop.sql("CREATE ROLE leaver; INSERT INTO parent VALUES (1, 2)", "shop")
    subject = kind("shop")
    point = take(subject)
    subject.restore(point, target)
    with restored(target) as found:
        for spoil in SPOILT:
            found.sql(spoil, "shop")
    told = subject.compare(point, target)
    assert {words: [line for line in told if words in line] for words in SPOILT.values() if
            sum(words in line for line in told) != 1} == {}  # fmt: skip
    # Beside these: the index of the lost constraint.
    assert len(told) == len(SPOILT) + 1


def test_the_catalogues_query_is_part_of_the_proof(shop: Server, target: Path) -> None:
    shop.sql("CREATE UNLOGGED TABLE counter AS SELECT 5 AS n", "shop")
    subject = kind("shop", query="SELECT n FROM counter")
    point = take(subject)
    subject.restore(point, target)
    assert subject.compare(point, target) == []
    with restored(target) as found:
        found.sql("UPDATE counter SET n = 6", "shop")
    (told,) = subject.compare(point, target)
    assert told == "The catalogue's query has other rows or another answer: 1 rows instead of 1 rows."
    # A point is held against the query of its own day.
    other = kind("shop", query="SELECT 1")
    assert other.compare(point, target) == [told]


def test_a_query_that_fails_after_a_restore_is_a_difference(shop: Server, target: Path) -> None:
    subject = kind("shop", query="SELECT count(*) FROM cheap")
    point = take(subject)
    subject.restore(point, target)
    with restored(target) as found:
        found.sql("DROP VIEW cheap", "shop")
    assert "The catalogue's query is 'no answer: " in " ".join(subject.compare(point, target))


def test_a_query_that_the_source_does_not_take_makes_no_point(shop: Server) -> None:
    with pytest.raises(QueryFailed, match="nowhere"):
        take(kind("shop", query="SELECT * FROM nowhere"))
    with pytest.raises(QueryFailed, match="does not take a query"):
        take(kind("shop", query="-- nothing"))
    with pytest.raises(QueryFailed, match="read-only"):
        take(kind("shop", query="DELETE FROM stock.item RETURNING 1"))
    assert shop.sql("SELECT count(*) FROM stock.item", "shop") == "500"


def test_what_is_written_meanwhile_is_in_neither_dump_nor_checksums(shop: Server, target: Path) -> None:
    subject = kind("shop", query=QUERY)
    change = "DELETE FROM stock.item WHERE id > 100; INSERT INTO parent VALUES (9)"
    point = take(subject, meanwhile=lambda: shop.sql(change, "shop"))
    assert b"500 rows" in point.parts[INVENTORY]
    subject.restore(point, target)
    assert subject.compare(point, target) == []


def test_a_server_that_ends_during_the_dump_is_a_reason_to_try_again(mortal_source: Server) -> None:
    # More than pipes and buffers hold, so that the dump is still going on.
    mortal_source.make("big", "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 64) FROM generate_series(1, 20000) n")
    out = Collected(at_first=lambda: end_server(mortal_source.server.host))
    with kind("big").read() as reading:
        parts = {part.name: part for part in reading.parts}
        with pytest.raises(ServerGone, match="restarted or stopped while database 'big' was read") as raised:
            parts["big.dump"].write(out)
    assert isinstance(raised.value, TryAgain)


def test_a_server_that_ends_before_the_dump_leaves_no_checksums(mortal_source: Server) -> None:
    mortal_source.make("shop")
    with kind("shop").read() as reading:
        parts = {part.name: part for part in reading.parts}
        parts[ROLES].write(Collected())
        end_server(mortal_source.server.host)
        with pytest.raises(ServerGone):
            parts["shop.dump"].write(Collected())


HOSTILE = [
    "--version",
    "dbname=template1 host=nowhere",
    "a b\"c'd",
    "$(touch x);`id`",
    "../../up",
    "ж☃",
    "x" * 63,
    "hex-61",
]


def test_databases_may_be_called_anything(postgres: Server, target: Path) -> None:
    for number, name in enumerate(HOSTILE):
        postgres.make(name, f"CREATE TABLE t AS SELECT {number} AS n")
    subject = kind(*HOSTILE)
    point = take(subject)
    assert len(point.parts) == len(HOSTILE) + 2
    subject.restore(point, target)
    assert subject.compare(point, target) == []
    with restored(target) as found:
        assert [found.sql("SELECT n FROM t", name) for name in HOSTILE] == [str(n) for n in range(len(HOSTILE))]


def test_a_missing_database_is_named(postgres: Server) -> None:
    with pytest.raises(DatabaseMissing, match="nowhere"), kind("nowhere").read():
        pass


def test_a_database_that_the_catalogue_leaves_out_is_noted(shop: Server) -> None:
    shop.make("forgotten")
    with kind("shop").read() as reading:
        assert reading.notes == ["The server's databases forgotten are not in the catalogue, and not backed up."]


def test_a_spoilt_dump_is_no_restore_and_leaves_no_server(shop: Server, target: Path) -> None:
    subject = kind("shop")
    point = take(subject)
    point.parts["shop.dump"] = point.parts["shop.dump"][:3000]
    with pytest.raises(ProgramFailed, match="pg_restore of database 'shop'"):
        subject.restore(point, target)
    assert not (target / CLUSTER / "postmaster.pid").exists()


@pytest.mark.parametrize(
    "planted", [rb"\\! touch {0}", rb"SELECT 1; \\! touch {0}", rb"\\copy pg_roles to '{0}'", rb"\\i {0}"]
)
def test_a_command_for_psql_among_the_roles_runs_nothing_and_is_named(
    shop: Server, target: Path, planted: bytes
) -> None:
    subject, touched = kind("shop"), target / "touched"
    point = take(subject)
    roles = point.parts[ROLES].splitlines()
    roles.insert(6, planted.replace(b"{0}", bytes(touched)))
    point.parts[ROLES] = b"\n".join(roles)
    with pytest.raises(QueryFailed, match=r"does not take line \d+ of roles\.sql, so nothing of it was done: syntax"):
        subject.restore(point, target)
    assert not touched.exists()
    assert not (target / CLUSTER / "postmaster.pid").exists()


def test_nothing_of_a_dump_runs_that_is_not_what_was_backed_up(
    shop: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Changed(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if data := super().read(size):
                return data
            raise Corrupt("changed")

    def opened(name: str) -> AbstractContextManager[io.BytesIO]:
        return nullcontext(Changed(point.parts[name]) if name == "shop.dump" else io.BytesIO(point.parts[name]))

    subject, ran = kind("shop"), list[str]()
    point = take(subject)
    monkeypatch.setattr(point, "open", opened)
    with monkeypatch.context() as patched:
        patched.setattr(Programs, "run", lambda _, name, *__, **___: ran.append(name))
        with pytest.raises(Corrupt):
            subject.restore(point, target)
    assert ran == []
    assert not (target / CLUSTER / "postmaster.pid").exists()


def test_the_text_beside_the_point_restores_it_by_stock_tools(shop: Server, target: Path, bin_folder: Path) -> None:
    shop.make("Second db")
    subject = kind("shop", "Second db", query=QUERY)
    point = take(subject)
    for name, body in point.parts.items():
        (target / name).write_bytes(body)
    cluster = Cluster(target / CLUSTER, Programs())
    cluster.create(SUPERUSER)
    with cluster.running(SUPERUSER) as server:
        environment = {"PGHOST": server.host, "LC_ALL": "C"}
        follow(restoring(point.manifest, subject.commands(point.manifest)), target, environment, [bin_folder])
    assert subject.compare(point, target) == []


def test_names_of_parts_are_harmless_and_never_the_same() -> None:
    names = [*HOSTILE, "shop", "a.b", "a", "6", "_a"]
    parts = [part_name(name) for name in names]
    assert len(set(parts)) == len(names)
    assert part_name("shop") == "shop.dump"
    assert all(part.removesuffix(".dump").replace("-", "").replace("_", "").isalnum() for part in parts)


def test_one_database_comes_back_alone(shop: Server, target: Path) -> None:
    shop.make("Second db")
    subject = kind("shop", "Second db", query=QUERY)
    point = take(subject)
    subject.restore_some(point, target, "shop")
    assert subject.compare_some(point, target, "shop") == []
    with restored(target) as found:
        assert found.sql("SELECT count(*) FROM pg_database WHERE datname = 'Second db'") == "0"
        found.sql("DELETE FROM child", "shop")
    (said,) = subject.compare_some(point, target, "shop")
    assert '\'shop\': table "public"."child" has other rows' in said


@pytest.mark.parametrize("subset", ["stock.item", '"stock"."item"', 'public.Odd "name" %s', "public.child"])
def test_one_table_comes_back_with_its_rows_only(shop: Server, target: Path, subset: str) -> None:
    # Its type is of another schema, and its key leads to rows that do not come back.
    shop.sql(
        "CREATE TYPE size AS ENUM ('s', 'l'); ALTER TABLE stock.item ADD size public.size DEFAULT 's';"
        "CREATE TABLE owner (id int PRIMARY KEY); INSERT INTO owner VALUES (1);"
        "ALTER TABLE stock.item ADD owner int DEFAULT 1 REFERENCES owner (id)",
        "shop",
    )
    subject = kind("shop", query=QUERY)
    point = take(subject)
    subset = f"shop/{subset}"
    subject.restore_some(point, target, subset)
    assert subject.compare_some(point, target, subset) == []
    with restored(target) as found:
        assert found.sql("SELECT count(*) FROM owner", "shop") == "0"
        assert found.sql("SELECT count(*) FROM stock.item", "shop") == ("500" if "item" in subset else "0")
        found.sql(
            'UPDATE stock.item SET price = 0 WHERE id = 3; DELETE FROM child; DELETE FROM "Odd ""name"" %s"', "shop"
        )
    (said,) = subject.compare_some(point, target, subset)
    assert "has other rows" in said


def test_a_point_made_when_the_inventory_had_another_name_is_read_too(shop: Server) -> None:
    point = take(kind("shop"))
    point.parts["contents.jsonl"] = point.parts.pop(INVENTORY)
    point.manifest = replace(
        point.manifest, members=tuple(one for one in point.manifest.members if INVENTORY not in one.name)
    )
    assert kind("shop").select(point, "shop").files == 4


def test_a_part_has_a_size_and_a_name_that_the_point_knows(shop: Server) -> None:
    subject = kind("shop")
    point = take(subject)
    size = len(point.parts["shop.dump"])
    assert subject.select(point, "shop") == Selection(4, size)
    assert subject.select(point, "shop/stock.item") == Selection(1, size)
    for subset in ("other", "shop/nosuch.item", "shop/item", "shop/", "shop/stock.item.x", "shop/stock.ITEM"):
        with pytest.raises(NoPoint, match=r"Name one of its databases \(shop\)"):
            subject.select(point, subset)
