"""`make bench`: figures, not tests. Everything is measured in one run beside the limits of the same machine."""
