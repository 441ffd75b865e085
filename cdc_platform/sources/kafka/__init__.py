"""Debezium's change events read from Kafka topics, one topic a table.

connection.py   what a pipeline's connection says
client.py       librdkafka: topics, watermarks, messages in blocks; its errors in the terms of the project
token.py        how far a topic is read: what travels in the change log's commit
repeats.py      events that a connector sent again
source.py       the `Source`; opens with how nothing is lost or doubled
"""
