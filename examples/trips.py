"""Run with spark-submit, or line by line in pyspark; see README.md.

SPDX-License-Identifier: Apache-2.0
"""

from pyspark.sql import SparkSession
from pyspark.sql.functions import avg, col

spark = SparkSession.builder.appName("trips").getOrCreate()
trips = spark.table("magic.lake.trips")
trips.where(col("fare") > 20).select("id", "city", "fare").orderBy("id").show()

# All tables of one statement are read at one snapshot, and so is a DataFrame that is asked again.
longer = trips.join(trips.groupBy("city").agg(avg("km").alias("usual")), "city").where(col("km") > col("usual"))
print("longer than usual:", sorted(row.id for row in longer.collect()))
