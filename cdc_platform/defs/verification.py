"""The asset check `verify` of each destination: every row and cell against the source, at one source position.

Beside the four of checks.py, in a job of its own: it reads what changed since it ran last, and once a week everything.
It mends nothing; `cdc verify --repair` does.
"""

# Annotations are not postponed here: Dagster reads the context's type from them.

import dagster as dg

from cdc_platform.defs.checks import check_result
from cdc_platform.defs.failures import as_dagster
from cdc_platform.defs.installation import Installation
from cdc_platform.defs.naming import FlowAssets
from cdc_platform.defs.progress import logged
from cdc_platform.engine.verification.verify import verify as compare

VERIFY = "verify"


def verification_check(installation: Installation, flow: FlowAssets) -> dg.AssetChecksDefinition:
    """The pipeline's check `verify`."""

    @dg.multi_asset_check(
        name=f"verify_{flow.resource}",
        specs=[
            dg.AssetCheckSpec(
                VERIFY,
                asset=flow.destination,
                description="Row by row and cell by cell what the source holds, and what the change log says.",
            )
        ],
    )
    def verification(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        settings, environment = installation.settings, installation.environment()
        (found,) = compare(settings, environment, installation.pipelines, [flow.pipeline], progress=logged(context.log))
        if found.error is not None:
            raise as_dagster(found.error, context) from None
        return check_result(flow.destination, found.verdict)

    return verification


def verification_key(flow: FlowAssets) -> dg.AssetCheckKey:
    return dg.AssetCheckKey(flow.destination, VERIFY)
