"""The client's jar brings nothing under a name that Spark or another jar may have.

SPDX-License-Identifier: Apache-2.0
"""

import re
import zipfile

from lib import paths

SERVICES = r"services/(io\.magicstore\.|org\.apache\.spark\.sql\.sources\.DataSourceRegister$)"
OURS = re.compile(r"io/magicstore/|META-INF/(io\.magicstore\.|MANIFEST\.MF|LICENSE|NOTICE|[\w-]+-(LICENSE|NOTICE)|" + SERVICES + ")")


def test_everything_is_relocated():
    with zipfile.ZipFile(paths.SPARK_JAR) as jar:
        names = [name for name in jar.namelist() if not name.endswith("/")]
        strangers = [name for name in names if not OURS.match(name)]
        services = {name: jar.read(name).decode() for name in names if name.startswith("META-INF/services/")}
    assert not strangers, strangers[:20]
    assert "io/magicstore/spark/MagicCatalog.class" in names
    assert "io/magicstore/shaded/arrow/flight/FlightClient.class" in names
    assert services["META-INF/services/org.apache.spark.sql.sources.DataSourceRegister"].strip() == "io.magicstore.spark.MagicSource"
    assert "META-INF/NOTICE" in names and "META-INF/LICENSE" in names
    for name, lines in services.items():
        providers = [line for line in lines.splitlines() if line.strip() and not line.startswith("#")]
        assert all(line.startswith("io.magicstore.") for line in providers), (name, providers)


def test_its_netty_finds_its_own_version():
    """gRPC merges buffers by it; Spark's Netty has another one."""
    with zipfile.ZipFile(paths.SPARK_JAR) as jar:
        asks = jar.read("io/magicstore/shaded/netty/util/Version.class")
        told = jar.read("META-INF/io.magicstore.shaded.netty.versions.properties").decode()
    assert b"META-INF/io.magicstore.shaded.netty.versions.properties" in asks
    assert b"META-INF/io.netty.versions.properties" not in asks
    assert "netty-buffer.version=" in told and "netty-codec-http2.version=" in told
