/* SchemaCheckTest.java -- which changes of a schema a statement survives.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.magicstore.proto.ColumnInfo;
import io.magicstore.proto.TableInfo;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class SchemaCheckTest {
  private static final TableInfo ANALYSED =
      table(7, 3, column(1, "id", "int64", false), column(2, "name", "utf8", true), column(3, "price", "decimal(12,2)", true));

  private static ColumnInfo column(long id, String name, String type, boolean nullable) {
    return ColumnInfo.newBuilder().setId(id).setName(name).setType(type).setNullable(nullable).build();
  }

  private static TableInfo table(long id, long version, ColumnInfo... columns) {
    return TableInfo.newBuilder()
        .setDatabase("shop")
        .setTable("items")
        .setTableId(id)
        .setSchemaVersion(version)
        .addAllColumns(List.of(columns))
        .build();
  }

  private static void refused(TableInfo snapshot, String... named) {
    MagicException failure =
        assertThrows(
            MagicException.class, () -> SchemaCheck.rename(ANALYSED, snapshot, List.of("id", "name", "price")));
    assertEquals(Code.SCHEMA_CHANGED, failure.code());
    for (String name : named) {
      assertTrue(failure.getMessage().contains(name), failure.getMessage());
    }
  }

  @Test
  void anAddedColumnIsNotNoticed() {
    TableInfo now =
        table(7, 4, column(4, "added", "utf8", true), ANALYSED.getColumns(0), ANALYSED.getColumns(1), ANALYSED.getColumns(2));
    assertEquals(Map.of("id", "id", "price", "price"), SchemaCheck.rename(ANALYSED, now, List.of("id", "price")));
  }

  @Test
  void aRenamedColumnIsFoundByItsId() {
    TableInfo now = table(7, 4, ANALYSED.getColumns(0), column(2, "title", "utf8", true), ANALYSED.getColumns(2));
    assertEquals(Map.of("name", "title"), SchemaCheck.rename(ANALYSED, now, List.of("name")));
  }

  @Test
  void aDroppedColumnMattersOnlyToThoseWhoReadIt() {
    TableInfo now = table(7, 4, ANALYSED.getColumns(0), ANALYSED.getColumns(2));
    assertEquals(Map.of("id", "id"), SchemaCheck.rename(ANALYSED, now, List.of("id")));
    refused(now, "name utf8", "schema 3", "schema 4");
  }

  @Test
  void aDroppedAndAddedColumnIsAnotherOne() {
    refused(table(7, 4, ANALYSED.getColumns(0), column(9, "name", "utf8", true), ANALYSED.getColumns(2)), "name");
  }

  @Test
  void anotherTypeOrNewNullsAreRefused() {
    refused(table(7, 4, ANALYSED.getColumns(0), ANALYSED.getColumns(1), column(3, "price", "decimal(14,2)", true)), "price");
    refused(table(7, 4, column(1, "id", "int64", true), ANALYSED.getColumns(1), ANALYSED.getColumns(2)), "id");
  }

  @Test
  void aTruncatedTableIsTheSameWhenNamesAre() {
    TableInfo now = table(8, 9, ANALYSED.getColumns(0), ANALYSED.getColumns(1), ANALYSED.getColumns(2));
    assertEquals(3, SchemaCheck.rename(ANALYSED, now, List.of("id", "name", "price")).size());
    refused(table(8, 9, ANALYSED.getColumns(0), column(2, "other", "utf8", true), ANALYSED.getColumns(2)), "name");
  }
}
