"""Dagster: the outermost layer and, with `cdc_platform.definitions`, the only place that imports it.

One factory (`build.py`) makes all definitions from the pipelines. Bodies of assets, checks and sensors read their
configuration, call the engine once, and turn what it returned into metadata. What captures, applies and compares
is in the engine, which runs without Dagster.
"""
