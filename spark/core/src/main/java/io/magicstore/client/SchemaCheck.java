/* SchemaCheck.java -- may a statement that was analysed with one schema of a table read a snapshot that has another one?
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import io.magicstore.proto.ColumnInfo;
import io.magicstore.proto.TableInfo;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * A column is the same when id and type are and it has not become nullable. In another incarnation of the table (truncated,
 * or dropped and made again) ids say less, so there the name must be the same, too. Columns that the statement does not
 * read may come, go and change.
 */
public final class SchemaCheck {
  private SchemaCheck() {}

  /**
   * The snapshot's names of the columns that a statement reads, by the names it was analysed with.
   *
   * @throws MagicException SCHEMA_CHANGED, naming what is missing
   */
  public static Map<String, String> rename(TableInfo analysed, TableInfo snapshot, Collection<String> columns) {
    boolean sameIncarnation = analysed.getTableId() == snapshot.getTableId();
    Map<String, String> names = new HashMap<>();
    List<String> missing = new ArrayList<>();

    for (String name : columns) {
      ColumnInfo before = byName(analysed, name);
      ColumnInfo now = byId(snapshot, before.getId());
      boolean same =
          now != null
              && now.getType().equals(before.getType())
              && (before.getNullable() || !now.getNullable())
              && (sameIncarnation || now.getName().equalsIgnoreCase(before.getName()));
      if (same) {
        names.put(name, now.getName());
      } else {
        missing.add(name + " " + before.getType());
      }
    }
    if (!missing.isEmpty()) {
      throw new MagicException(
          Code.SCHEMA_CHANGED,
          "table " + analysed.getDatabase() + "." + analysed.getTable() + " was analysed with schema "
              + analysed.getSchemaVersion() + " and is read with schema " + snapshot.getSchemaVersion()
              + ", which lacks " + String.join(", ", missing) + ". Run the statement again, or build the DataFrame anew");
    }
    return names;
  }

  private static ColumnInfo byName(TableInfo table, String name) {
    for (ColumnInfo column : table.getColumnsList()) {
      if (column.getName().equals(name)) {
        return column;
      }
    }
    throw new IllegalArgumentException("table " + table.getTable() + " has no column " + name);
  }

  private static ColumnInfo byId(TableInfo table, long id) {
    for (ColumnInfo column : table.getColumnsList()) {
      if (column.getId() == id) {
        return column;
      }
    }
    return null;
  }
}
