"""Reads and writes Delta tables with Spark, one session for all that a test asks. Run by Spark's own Python.

    python session.py JARS OUT < tasks.json

A task is {"table", "feed": first version or null, "insert": SQL or null}; OUT/<number> gets its rows as Parquet, or
OUT/<number>.error the first line of what Spark said. Imports nothing of the project.
"""

import json
import sys
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

OPTIONS = {
    "spark.ui.enabled": "false",
    "spark.driver.memory": "1g",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.shuffle.partitions": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
}


def main(jars: Path, out: Path) -> None:
    builder = SparkSession.builder.master("local[1]").config("spark.jars", ",".join(map(str, jars.glob("*.jar"))))
    for name, value in OPTIONS.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    for number, task in enumerate(json.load(sys.stdin)):
        try:
            if task["insert"]:
                spark.sql(task["insert"])
            reader = spark.read.format("delta")
            if task["feed"] is not None:
                reader = reader.option("readChangeFeed", "true").option("startingVersion", task["feed"])
            reader.load(task["table"]).coalesce(1).write.parquet(str(out / str(number)))
        except PySparkException as error:
            (out / f"{number}.error").write_text(str(error).splitlines()[0])
    spark.stop()


main(Path(sys.argv[1]), Path(sys.argv[2]))
