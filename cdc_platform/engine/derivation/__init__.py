"""Derived tables: kept from the change logs of their inputs, commit by commit, and recomputed from nothing to compare.

definition.py   a derived table's file, found, read and held against its inputs' columns
buckets.py      rows in files by a hash of the key that they belong to
mirror.py       the current rows of an input, in such files: a cache
derive.py       changes of the inputs ──> touched keys ──> their rows anew ──> one commit with all logs' versions
anew.py         all rows from the logs alone, and how they differ from the table's
"""
