/* ColumnType.java -- Magic's names of types.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** As ColumnInfo.type tells it: "int32", "decimal(12,2)", "datetime(6)". The numbers are 0 where a type has none. */
public record ColumnType(Kind kind, int precision, int scale) {
  public enum Kind {
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    FLOAT32,
    FLOAT64,
    DECIMAL,
    DATE,
    DATETIME,
    TIMESTAMP,
    UTF8;

    public boolean isUnsigned() {
      return this == UINT8 || this == UINT16 || this == UINT32 || this == UINT64;
    }
  }

  private static final Pattern SHAPE = Pattern.compile("([a-z]+[0-9]*)(?:\\((\\d+)(?:,\\s*(\\d+))?\\))?");

  /** Null for a type that this client does not know: a newer store may have more. */
  public static ColumnType parse(String text) {
    Matcher shape = SHAPE.matcher(text);

    if (!shape.matches()) {
      return null;
    }
    for (Kind kind : Kind.values()) {
      if (kind.name().equalsIgnoreCase(shape.group(1))) {
        return new ColumnType(kind, number(shape.group(2)), number(shape.group(3)));
      }
    }
    return null;
  }

  private static int number(String text) {
    return text == null ? 0 : Integer.parseInt(text);
  }
}
