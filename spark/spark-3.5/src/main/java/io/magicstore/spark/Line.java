/* Line.java -- where Spark 3.5 and Scala 2.12 differ from the other lines.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import java.util.Map;
import java.util.function.Consumer;
import org.apache.spark.TaskContext;
import scala.Tuple2;
import scala.collection.mutable.Builder;

final class Line {
  /** Spark's error condition for a decimal that does not fit. */
  static final String DECIMAL_OVERFLOW = "NUMERIC_VALUE_OUT_OF_RANGE";

  private Line() {}

  /** Calls `killed` with the reason when Spark kills the task. */
  static void onKill(TaskContext task, Consumer<String> killed) {
    KilledTasks.watch(task, killed);
  }

  static scala.collection.immutable.Map<String, String> scalaMap(Map<String, String> map) {
    Builder<Tuple2<String, String>, scala.collection.immutable.Map<String, String>> all =
        scala.collection.immutable.Map$.MODULE$.newBuilder();

    map.forEach((key, value) -> all.$plus$eq(new Tuple2<>(key, value)));
    return all.result();
  }
}
