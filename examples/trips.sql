-- Run with spark-sql; see README.md.
SHOW TABLES IN magic.lake;
SELECT city, count(*) AS trips, sum(fare) AS earned FROM magic.lake.trips GROUP BY city ORDER BY city;
EXPLAIN SELECT city, max(km) FROM magic.lake.trips WHERE fare > 10 GROUP BY city;
