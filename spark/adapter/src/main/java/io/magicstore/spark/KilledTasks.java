/* KilledTasks.java -- tells a read that Spark has killed its task, where Spark itself does not tell.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.apache.spark.TaskContext;
import org.apache.spark.util.TaskCompletionListener;

/** One thread an executor looks at all tasks that read, several times a second. */
final class KilledTasks {
  private static final long EVERY_MS = 100;
  private static final Map<TaskContext, Consumer<String>> WATCHED = new ConcurrentHashMap<>();
  private static ScheduledExecutorService thread;

  private KilledTasks() {}

  /** Calls `killed` once, on another thread, if the task is killed before it ends. */
  static void watch(TaskContext task, Consumer<String> killed) {
    WATCHED.merge(task, killed, Consumer::andThen); // a task may have several readers
    task.addTaskCompletionListener((TaskCompletionListener) WATCHED::remove);
    start();
  }

  private static synchronized void start() {
    if (thread == null) {
      thread = Executors.newSingleThreadScheduledExecutor(KilledTasks::daemon);
      thread.scheduleWithFixedDelay(KilledTasks::look, EVERY_MS, EVERY_MS, TimeUnit.MILLISECONDS);
    }
  }

  private static Thread daemon(Runnable work) {
    Thread made = new Thread(work, "magic-killed-tasks");

    made.setDaemon(true);
    return made;
  }

  private static void look() {
    WATCHED.forEach(
        (task, killed) -> {
          if (task.isInterrupted() && WATCHED.remove(task, killed)) {
            killed.accept("interrupted");
          }
        });
  }
}
