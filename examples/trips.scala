// Run with spark-shell -i; see README.md.
import spark.implicits._

val trips = spark.table("magic.lake.trips")
trips.groupBy($"city").max("km").orderBy($"city").show()
println("first trip: " + trips.orderBy($"began").select($"city").as[String].head())
sys.exit(0)
