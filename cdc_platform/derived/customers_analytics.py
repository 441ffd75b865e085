"""`customers_analytics` (data model, section 3.2): each customer with name and place in one piece, and how often they
ordered.

What is null at the source and required here has the source column's own default: 0.00 is the lifetime value of nobody's
orders, and a customer is active until something else is said.
"""

from collections.abc import Mapping
from decimal import Decimal

import polars as pl
import pyarrow as pa

from cdc_platform.model.derived import Derived, Input
from cdc_platform.model.target import TargetField

_TIME, _MONEY = pa.timestamp("us"), pa.decimal128(12, 2)
_NOTHING = pl.lit(Decimal("0.00"), pl.Decimal(12, 2))


def rows(inputs: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """One row a customer. Orders of customers that are not there yet wait for them."""
    orders = inputs["orders"].group_by("customer_id").agg(pl.len().cast(pl.Int64).alias("total_orders"))
    return (
        inputs["customers"]
        .join(orders, on="customer_id", how="left")
        .select(
            "customer_id",
            "email",
            _joined(" ", "first_name", "last_name").fill_null("").alias("full_name"),
            _joined(", ", "city", "state", "country").alias("location"),
            "customer_tier",
            pl.col("lifetime_value").fill_null(_NOTHING),
            "registration_date",
            pl.col("is_active").fill_null(True),
            pl.col("total_orders").fill_null(0),
            pl.lit("postgres_cdc").alias("_source_system"),
        )
    )


def _joined(separator: str, *columns: str) -> pl.Expr:
    """The columns' texts, as they are, without those that are null or blank; null where none is left."""
    present = [pl.when(pl.col(name).str.strip_chars() != "").then(name) for name in columns]
    joined = pl.concat_str(present, separator=separator, ignore_nulls=True)
    return pl.when(joined != "").then(joined)


TABLE = Derived(
    key=("customer_id",),
    inputs={
        "customers": Input(
            by=("customer_id",),
            columns=(
                "email",
                "first_name",
                "last_name",
                "city",
                "state",
                "country",
                "customer_tier",
                "lifetime_value",
                "registration_date",
                "is_active",
            ),
        ),
        "orders": Input(by=("customer_id",)),
    },
    fields=(
        TargetField("customer_id", pa.int64(), required=True),
        TargetField("email", pa.string(), required=True),
        TargetField("full_name", pa.string(), required=True),
        TargetField("location", pa.string()),
        TargetField("customer_tier", pa.string()),
        TargetField("lifetime_value", _MONEY, required=True),
        TargetField("registration_date", _TIME, required=True),
        TargetField("is_active", pa.bool_(), required=True),
        TargetField("total_orders", pa.int64()),
        TargetField("_ingestion_timestamp", _TIME, required=True),
        TargetField("_source_system", pa.string(), required=True),
    ),
    rows=rows,
    written_at="_ingestion_timestamp",
)
