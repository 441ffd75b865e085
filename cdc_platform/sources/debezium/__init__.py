"""Debezium's change events, whatever brings them (Kafka, the embedded engine), as columns. Pure. Layer: sources.

messages.py   keys and values as Arrow buffers: what comes in
connect.py    Kafka Connect's schemas: what a message says of its own shape
json_form.py  JSON, with and without its schema, to Arrow columns
avro_form.py  Avro to the same columns
columns.py    how each kind of cell arrives, and what it becomes: the type table
envelope.py   before, after, source and op of many messages to rows
decoder.py    all of it: messages of one table in, rows and what is no row out
"""
