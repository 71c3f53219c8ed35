"""Where a PostgreSQL server is, and as whom it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Server:
    """A server and an account of it.

    :param host: a name, an address, or the folder of its socket.
    :param sslmode: as libpq has it; ``verify-full`` checks certificate and name.
    :param sslrootcert: a CA bundle; ``system`` for the machine's own.
    """

    host: str
    port: int
    user: str
    password: str = field(default="", repr=False)
    sslmode: str = "prefer"
    sslrootcert: str = ""

    @property
    def address(self) -> str:
        """Return what a person calls it."""
        return self.host if self.host.startswith("/") else f"{self.host}:{self.port}"

    def environment(self, database: str) -> dict[str, str]:
        """Return what libpq reads from the environment.

        The password is no argument, which every user of the machine could see; the database is none either, because
        programs take an argument with ``=`` for a whole address.
        """
        settings = {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": database,
            "PGSSLMODE": self.sslmode,
            "PGSSLROOTCERT": self.sslrootcert,
            "PGCONNECT_TIMEOUT": "15",
            "PGAPPNAME": "platform-ops",
        }
        return {name: value for name, value in settings.items() if value}

    def parameters(self, database: str) -> dict[str, str | int]:
        """Return what psycopg2 is called with."""
        named: dict[str, str | int] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "dbname": database,
            "sslmode": self.sslmode,
            "sslrootcert": self.sslrootcert,
            "connect_timeout": 15,
            "application_name": "platform-ops",
            # A session sleeps while the programs work; nothing on the way may think it dead.
            "keepalives_idle": 60,
        }
        return {name: value for name, value in named.items() if value}
