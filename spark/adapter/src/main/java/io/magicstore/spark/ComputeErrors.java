/* ComputeErrors.java -- what the store could not compute, as the error that Spark itself would have raised.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import io.magicstore.client.Code;
import io.magicstore.client.MagicException;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.spark.QueryContext;
import org.apache.spark.SparkArithmeticException;

/** The store's text begins with the name of Spark's error condition. */
final class ComputeErrors {
  private static final String OVERFLOW = "ARITHMETIC_OVERFLOW";
  private static final String DECIMAL_OVERFLOW = "NUMERIC_VALUE_OUT_OF_RANGE";
  private static final String ANSI = "\"spark.sql.ansi.enabled\"";
  private static final Pattern DECIMAL = Pattern.compile("decimal\\((\\d+),\\s*(\\d+)\\)");

  private ComputeErrors() {}

  /** The failure itself when it is of another kind. */
  static RuntimeException ofSpark(MagicException failure) {
    String text = failure.getMessage();
    SparkArithmeticException told;

    if (failure.code() != Code.OUT_OF_RANGE) {
      return failure;
    }
    if (text.contains(OVERFLOW)) {
      told = error(OVERFLOW, Map.of("message", text, "alternative", "", "config", ANSI));
    } else if (text.contains(DECIMAL_OVERFLOW)) {
      Matcher type = DECIMAL.matcher(text);
      boolean isNamed = type.find();
      told =
          error(
              Line.DECIMAL_OVERFLOW,
              Map.of(
                  "value", "value (" + text + ")",
                  "precision", isNamed ? type.group(1) : "38",
                  "scale", isNamed ? type.group(2) : "0",
                  "config", ANSI));
    } else {
      return failure;
    }
    told.initCause(failure);
    return told;
  }

  private static SparkArithmeticException error(String condition, Map<String, String> parameters) {
    return new SparkArithmeticException(condition, Line.scalaMap(parameters), new QueryContext[0], "");
  }
}
