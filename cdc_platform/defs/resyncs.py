"""The job `resync`: the way back from a gap, for the pipelines that its configuration names."""

# Annotations are not postponed here: Dagster reads the configuration's type from them.

from dataclasses import asdict

import dagster as dg
from pydantic import Field

from cdc_platform.config.load import select
from cdc_platform.defs.failures import failure
from cdc_platform.defs.installation import Installation
from cdc_platform.defs.naming import RESYNC
from cdc_platform.defs.progress import logged
from cdc_platform.engine.resync import resync


class ResyncConfig(dg.Config):
    """What `cdc resync` takes."""

    pipeline: str = Field(description="A pipeline id.")
    dry_run: bool = Field(default=False, description="Say what is uncertain and what it would cost; change nothing.")
    anew: bool = Field(default=False, description="Set log and destinations aside, and begin with a new snapshot.")


def resync_job(installation: Installation) -> dg.JobDefinition:
    """The job and its one op."""

    @dg.op(name="resync_pipeline", description="Brings a table and its source together again.")
    def resync_pipeline(context: dg.OpExecutionContext, config: ResyncConfig) -> None:
        settings, environment, everything = installation.settings, installation.environment(), installation.pipelines
        chosen = select(everything, [config.pipeline])
        progress = logged(context.log)
        results = resync(
            settings, environment, everything, chosen, dry_run=config.dry_run, anew=config.anew, progress=progress
        )
        for result in results:
            if result.plan is not None:
                context.log.info(f"{result.pipeline}: {result.plan.way}; {result.plan.history}")
                context.add_output_metadata({result.pipeline: dg.MetadataValue.json(_plain(asdict(result.plan)))})
            if result.error is not None:
                raise failure(result.error) from None

    @dg.job(name=RESYNC, description="The way back from a gap: compares a table with its source, or begins it anew.")
    def job() -> None:
        resync_pipeline()

    return job


def _plain(plan: dict[str, object]) -> dict[str, object]:
    return {key: value if isinstance(value, (int, list, type(None))) else str(value) for key, value in plan.items()}
