/* LineTesting.java -- where Spark 3.5's constructors differ from those of the other lines.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import org.apache.spark.sql.connector.expressions.Cast;
import org.apache.spark.sql.connector.expressions.Expression;
import org.apache.spark.sql.types.DataType;

final class LineTesting {
  private LineTesting() {}

  static Cast cast(Expression of, DataType from, DataType to) {
    return new Cast(of, to);
  }
}
