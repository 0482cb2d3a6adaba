/* NamedColumn.java -- a column of a table, as Spark asks for the names of columns.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import org.apache.spark.sql.connector.expressions.NamedReference;

/** The name is as it is, also with dots in it; Spark compares what describe() says with the names of attributes. */
record NamedColumn(String name) implements NamedReference {
  @Override
  public String[] fieldNames() {
    return new String[] {name};
  }

  @Override
  public String describe() {
    return name;
  }

  @Override
  public String toString() {
    return name;
  }
}
