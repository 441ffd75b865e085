"""The derived tables that come with the platform, one a file: `derive.definition` names the file without its `.py`.

A table of your own is a file of the same form beside your pipelines (docs/derived.md). Layer: above `model` alone.
"""
