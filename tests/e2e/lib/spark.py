"""Spark sessions with Magic as a catalog.

SPDX-License-Identifier: Apache-2.0
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from . import paths, process, wait

SNAPSHOT = re.compile(r"snapshot: epoch (\d+), W (\d+)")
_folders = []


def session(uri, catalog="magic", parallelism=2, failures=4, **conf):
    """Two task threads, four tries a task, times in UTC, nothing outside of 127.0.0.1 and a temporary folder.

    Where there is a session already, it gets the catalog and is returned."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    folder = tempfile.mkdtemp(prefix="magic-spark-")
    _folders.append(folder)
    (open(f"{folder}/log4j2.properties", "w", encoding="utf-8")).write(
        "rootLogger.level = error\nrootLogger.appenderRef.file.ref = file\nappender.file.type = File\n"
        f"appender.file.name = file\nappender.file.fileName = {folder}/spark.log\n"
        "appender.file.layout.type = PatternLayout\nappender.file.layout.pattern = %d %p %c: %m%n%ex\n"
    )
    builder = (
        SparkSession.builder.master(f"local[{parallelism},{failures}]")
        .appName("magic-test")
        .config("spark.jars", str(paths.SPARK_JAR))
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.memory", "2g")
        .config("spark.local.dir", folder)
        .config("spark.sql.warehouse.dir", f"{folder}/warehouse")
        .config("spark.driver.extraJavaOptions", f"-Duser.timezone=UTC -Dlog4j2.configurationFile={folder}/log4j2.properties"
                f" -Dderby.system.home={folder} -Djava.io.tmpdir={folder}")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.ui.showConsoleProgress", "false")
        .config(f"spark.sql.catalog.{catalog}", "io.magicstore.spark.MagicCatalog")
        .config(f"spark.sql.catalog.{catalog}.uri", uri)
        .config(f"spark.sql.catalog.{catalog}.splits", "4")
    )
    if paths.SPARK_LINE == "3.5":  # the tests are written for Spark 4's defaults
        builder = builder.config("spark.sql.ansi.enabled", "true")
    for key, value in conf.items():
        builder = builder.config(key, value)
    with _errors_to(f"{folder}/jvm.log"):
        return builder.getOrCreate()


@contextlib.contextmanager
def _errors_to(file):
    """What is started meanwhile writes its standard error there, for ever."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(file, "ab") as out:
        os.dup2(out.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def end():
    """Stop the session and its JVM, and remove what they left."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    gateway = SparkContext._gateway
    if active is not None:
        active.stop()
    if gateway is not None:
        gateway.shutdown()
        gateway.proc.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            gateway.proc.wait(20)
        SparkContext._gateway = None
        SparkContext._jvm = None
    while _folders:
        folder = _folders.pop()
        for pid in process.processes_naming(folder):  # one that was interrupted while it started
            process.end_pid(pid, 2)
        shutil.rmtree(folder, ignore_errors=True)


def plan_text(frame):
    """The plan as EXPLAIN shows it."""
    return frame._jdf.queryExecution().executedPlan().toString()


def scans(plan):
    """Descriptions of all scans of an executed plan: of its stages, subqueries and cached relations, too."""
    kind = plan.getClass().getSimpleName()
    if kind == "BatchScanExec":
        return [plan.scan().description()] + [text for inner in _items(plan.subqueries()) for text in scans(inner)]
    inner = list(_items(plan.children())) + list(_items(plan.subqueries()))
    if kind == "AdaptiveSparkPlanExec":
        inner.append(plan.executedPlan())
    elif kind.endswith("QueryStageExec"):
        inner.append(plan.plan())
    elif kind == "InMemoryTableScanExec":
        inner.append(plan.relation().cachedPlan())
    elif kind.startswith("Reused"):
        inner = []
    return [text for one in inner for text in scans(one)]


def _items(sequence):
    return [sequence.apply(place) for place in range(sequence.size())]


def executions(spark):
    """What Spark keeps of the statements that it ran, the last one last."""
    spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
    return _items(spark._jsparkSession.sharedState().statusStore().executionsList())


def last_execution(spark):
    """Its number; those of later statements are higher."""
    return max((execution.executionId() for execution in executions(spark)), default=-1)


def metrics(spark):
    """{description: [value of each node that has it]} of the statement that ran last."""
    last = executions(spark)[-1]
    values = spark._jsparkSession.sharedState().statusStore().executionMetrics(last.executionId())
    names = {metric.accumulatorId(): metric.name() for metric in _items(last.metrics())}
    found = {}
    for number, name in names.items():
        value = values.get(number)
        if value.isDefined():
            found.setdefault(name, []).append(value.get())
    return found


def snapshots(frame):
    """The different (epoch, watermark) that the plan reads, subqueries included."""
    return sorted({(int(epoch), int(mark)) for epoch, mark in SNAPSHOT.findall(plan_text(frame))})


def snapshot(frame):
    """The one snapshot of the statement."""
    found = snapshots(frame)
    assert len(found) == 1, f"one snapshot expected, {found} found in\n{plan_text(frame)}"
    return found[0]


class Jvm:
    """Counters of the client inside the JVM."""

    def __init__(self, spark):
        self._jvm = spark._jvm

    def injected(self):
        return self._jvm.io.magicstore.spark.ReadFaults.injectedCount()

    def tasks(self):
        return self._jvm.io.magicstore.spark.ReadFaults.taskCount()

    def leaks(self):
        return self._jvm.io.magicstore.client.Memory.leakCount()

    def allocated(self):
        return self._jvm.io.magicstore.client.Memory.allocatedBytes()


def memory_is_given_back(jvm, seconds=15):
    """Tasks that ended hold no Arrow memory."""
    try:
        wait.until(lambda: jvm.allocated() == 0, seconds, "the last tasks give their Arrow memory back")
    except wait.Timeout as late:
        raise AssertionError(f"{jvm.allocated()} bytes of Arrow memory are still held, {jvm.leaks()} tasks told of a leak") from late
