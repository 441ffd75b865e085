"""MySQL 8+ and MariaDB 10.6+: snapshots by the text protocol, changes from the binlog's row events. Layer: sources."""
