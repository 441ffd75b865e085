"""Change data capture from Postgres and MySQL into Delta Lake and Iceberg tables."""
