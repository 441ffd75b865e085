"""Dagster's definitions as text that a person reads: one paragraph an asset, then checks, jobs, sensors, resources."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg


def graph_text(definitions: dg.Definitions) -> str:
    return "\n".join(_lines(definitions)) + "\n"


def _lines(definitions: dg.Definitions) -> Iterator[str]:
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        yield f"asset {key.to_user_string()}"
        if node.parent_keys:
            yield f"  from   {', '.join(sorted(k.to_user_string() for k in node.parent_keys))}"
        yield f"  kinds  {', '.join(sorted(node.kinds))}"
        yield f"  group  {node.group_name}, owners {', '.join(node.owners)}"
        tags = [f"{k}={v}" for k, v in sorted(node.tags.items()) if not k.startswith("dagster/kind")]
        if tags:
            yield f"  tags   {', '.join(tags)}"
        checks = sorted(check.name for check in graph.get_check_keys_for_assets({key}))
        if checks:
            yield f"  checks {', '.join(checks)}"
        yield f"  {node.description}" + ("" if node.is_materializable else " Not materialised here.")
        yield ""
    for name in ("capture_and_apply", "checks"):
        job = repository.get_job(name)
        targets = sorted(k.to_user_string() for k in job.asset_layer.executable_asset_keys)
        yield f"job {name}: {len(job.graph.node_dict)} steps, {job.executor_def.name} executor"
        yield from (f"  {target}" for target in targets)
        yield ""
    for sensor in repository.sensor_defs:
        every = f"every {sensor.minimum_interval_seconds} s"
        yield f"sensor {sensor.name}: {every}, starts {sensor.job_name}, {sensor.default_status.value.lower()}"
    for schedule in repository.schedule_defs:
        status = schedule.default_status.value.lower()
        yield f"schedule {schedule.name}: {schedule.cron_schedule}, starts {schedule.job_name}, {status}"
    for name, resource in sorted((definitions.resources or {}).items()):
        yield f"resource {name}: {type(resource).__name__}"


if __name__ == "__main__":
    from pathlib import Path

    from cdc_platform.definitions import defs

    (Path(__file__).parent / "asset_graph.txt").write_text(graph_text(defs()))
