"""`cdc verify`: source, change log and destination compared at one position, and what differs mended.

    source at P ──── latest state by key ────┐
                                             ├─ equal? else logged as changes, applied   (reconcile.py, apply.py)
    change log up to P ──────────────────────┤
                                             ├─ equal? else rows taken out and put in    (mending.py)
    destination, which has applied P ────────┘

Both comparisons are of digests by part of the key space first, then of rows in the parts that differ. What was found
equal is kept, by file and by part (kept.py): the next verification reads what is new or was touched since.

    verify.py     locks, snapshot, capture, apply; the order of steps       compare.py   digests, then rows
    expected.py   what the log says the destination holds                   lake.py      what it holds
    origin.py     what the source holds                                     parts.py     the parts of the key space
    spool.py      the last change of each key in bounded memory             kept.py      what was found equal
"""
