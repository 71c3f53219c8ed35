"""age, the standard tool that reads what backups encrypt, where it is not installed."""

from sandbox.real.programs import Program

AGE = Program("age", "filippo.io/age/cmd/age", "v1.2.1")
