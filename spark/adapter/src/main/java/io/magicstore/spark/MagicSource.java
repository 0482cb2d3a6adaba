/* MagicSource.java -- format("magic"): a table where no catalog can be set up.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.Code;
import io.magicstore.client.MagicException;
import io.magicstore.client.SnapshotChoice;
import io.magicstore.proto.SnapshotRef;
import java.util.Map;
import org.apache.spark.sql.connector.catalog.Table;
import org.apache.spark.sql.connector.catalog.TableProvider;
import org.apache.spark.sql.connector.expressions.Transform;
import org.apache.spark.sql.sources.DataSourceRegister;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;

/**
 * spark.read.format("magic").option("uri", "grpc://127.0.0.1:8815").load("shop.orders"). Options are those of a catalog, and
 * database and table in place of the path; snapshot as in the setting spark.magic.snapshot. Several of them in one statement read
 * one snapshot, as tables of a catalog do.
 */
public final class MagicSource implements TableProvider, DataSourceRegister {
  private static final String NAME = "magic";

  @Override
  public String shortName() {
    return NAME;
  }

  @Override
  public StructType inferSchema(CaseInsensitiveStringMap options) {
    return find(options).schema();
  }

  @Override
  public Table getTable(StructType schema, Transform[] partitioning, Map<String, String> properties) {
    return find(new CaseInsensitiveStringMap(properties));
  }

  private static MagicTable find(CaseInsensitiveStringMap map) {
    MagicOptions options = MagicOptions.ofRead(map);
    String snapshot = map.get("snapshot");
    SnapshotRef asOf = snapshot == null ? null : SnapshotChoice.parse(snapshot, options.waitMs());
    String[] name = nameOf(map);
    MagicTable found = MagicTable.find(NAME, options, name[0], name[1], asOf);

    if (found == null) {
      throw new MagicException(Code.NOT_FOUND, "there is no table " + name[0] + "." + name[1] + " at " + options.uri());
    }
    return found;
  }

  /** Database and table; the path is cut at its first dot. */
  private static String[] nameOf(CaseInsensitiveStringMap map) {
    String path = map.getOrDefault("path", "");
    int dot = path.indexOf('.');

    if (map.containsKey("database") && map.containsKey("table")) {
      return new String[] {map.get("database"), map.get("table")};
    }
    if (dot <= 0 || dot == path.length() - 1) {
      throw new IllegalArgumentException(
          "format magic reads load(\"database.table\"), or options database and table; the path is '" + path + "'");
    }
    return new String[] {path.substring(0, dot), path.substring(dot + 1)};
  }
}
