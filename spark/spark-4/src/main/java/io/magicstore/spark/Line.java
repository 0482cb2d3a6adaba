/* Line.java -- where Spark 4 and Scala 2.13 differ from the other lines.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import java.util.Map;
import java.util.function.Consumer;
import org.apache.spark.TaskContext;
import org.apache.spark.util.TaskInterruptListener;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import scala.jdk.javaapi.CollectionConverters;

final class Line {
  /** Spark's error condition for a decimal that does not fit. */
  static final String DECIMAL_OVERFLOW = "NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION";

  private static final Logger LOG = LoggerFactory.getLogger(Line.class);

  private Line() {}

  /** Calls `killed` with the reason when Spark kills the task; Spark tells of it from 4.2 on. */
  static void onKill(TaskContext task, Consumer<String> killed) {
    try {
      task.addTaskInterruptListener((TaskInterruptListener) (context, reason) -> killed.accept(reason));
    } catch (NoSuchMethodError olderSpark) {
      LOG.debug("this Spark does not tell of killed tasks");
      KilledTasks.watch(task, killed);
    }
  }

  static scala.collection.immutable.Map<String, String> scalaMap(Map<String, String> map) {
    return scala.collection.immutable.Map$.MODULE$.from(CollectionConverters.asScala(map));
  }
}
