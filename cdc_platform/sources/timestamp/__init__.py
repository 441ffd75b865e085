"""Postgres, MySQL and MariaDB followed by a column that says when a row changed: no log is read, SELECT is enough."""
