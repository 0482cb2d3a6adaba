/* MagicOptions.java -- every option of the client, with its default.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.Address;
import java.io.Serializable;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.spark.sql.internal.SQLConf;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;

/**
 * Options of the catalog are read once a session, under spark.sql.catalog.NAME.*, or given to a read of format magic: the fields
 * below. Settings of the session
 * are read with each statement, under spark.magic.*: the constants.
 *
 * @param uri where magicd listens
 * @param splits how many tasks a scan of a large table becomes; 0 = Spark's default parallelism
 * @param leaseTtlMs how long the store keeps a snapshot after the driver was last heard of; 0 = the store's default
 * @param leaseAgeMaxMs how old the snapshot of a DataFrame may become
 * @param retryMs how long a call or a read that has not begun is tried again while the store is away
 * @param waitMs how long a snapshot "wait:TS" is waited for
 * @param taskMemoryBytes limit of Arrow memory of one task
 */
record MagicOptions(
    Address uri,
    int splits,
    long leaseTtlMs,
    long leaseAgeMaxMs,
    long retryMs,
    long waitMs,
    long taskMemoryBytes)
    implements Serializable {

  static final String SNAPSHOT = "spark.magic.snapshot";
  static final String SPLITS = "spark.magic.splits";
  static final String PUSH_FILTERS = "spark.magic.pushdown.filters";
  static final String PUSH_LIMIT = "spark.magic.pushdown.limit";
  static final String PUSH_AGGREGATES = "spark.magic.pushdown.aggregates";
  static final String PUSH_TOP = "spark.magic.pushdown.topn";
  static final String RUNTIME_FILTERS = "spark.magic.pushdown.runtime-filters";
  static final String RUNTIME_VALUES = "spark.magic.pushdown.runtime-filter-values";
  static final String COMPLETE_ROWS = "spark.magic.pushdown.complete-rows";

  private static final Pattern TIME = Pattern.compile("(\\d+)\\s*(ms|s|m|min|h|d)?");

  static MagicOptions parse(String catalog, CaseInsensitiveStringMap map) {
    String uri = map.get("uri");

    if (uri == null) {
      throw new IllegalArgumentException(
          "catalog " + catalog + " has no address: set spark.sql.catalog." + catalog + ".uri, for instance"
              + " grpc://127.0.0.1:8815");
    }
    return of(uri, map);
  }

  /** Of a read that names no catalog. */
  static MagicOptions ofRead(CaseInsensitiveStringMap map) {
    String uri = map.get("uri");

    if (uri == null) {
      throw new IllegalArgumentException("format magic has no address: set option uri, for instance grpc://127.0.0.1:8815");
    }
    return of(uri, map);
  }

  private static MagicOptions of(String uri, CaseInsensitiveStringMap map) {
    return new MagicOptions(
        Address.parse(uri),
        map.getInt("splits", 0),
        time(map, "lease.ttl", "0"),
        time(map, "lease.max-age", "24h"),
        time(map, "retry", "30s"),
        time(map, "wait", "30s"),
        map.getLong("task-memory", 1L << 30));
  }

  static String session(String key, String otherwise) {
    return SQLConf.get().getConfString(key, otherwise);
  }

  static boolean sessionSwitch(String key) {
    return Boolean.parseBoolean(session(key, "true"));
  }

  private static long time(Map<String, String> map, String key, String otherwise) {
    String text = map.getOrDefault(key, otherwise).trim();
    Matcher shape = TIME.matcher(text);

    if (!shape.matches()) {
      throw new IllegalArgumentException("option " + key + " = " + text + " is no time: write 500ms, 60s, 5m, 1h or 1d");
    }
    TimeUnit unit =
        switch (shape.group(2) == null ? "ms" : shape.group(2)) {
          case "s" -> TimeUnit.SECONDS;
          case "m", "min" -> TimeUnit.MINUTES;
          case "h" -> TimeUnit.HOURS;
          case "d" -> TimeUnit.DAYS;
          default -> TimeUnit.MILLISECONDS;
        };
    return unit.toMillis(Long.parseLong(shape.group(1)));
  }
}
