"""What Spark says of our tables: `make test-spark`. Not part of the default suite."""
