"""Tests on a real Kafka with Connect and a schema registry: `make test-kafka`."""
