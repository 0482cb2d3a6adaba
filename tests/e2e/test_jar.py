"""The client's jar brings nothing under a name that Spark or another jar may have.

SPDX-License-Identifier: Apache-2.0
"""

import re
import zipfile

from lib import paths

OURS = re.compile(r"io/magicstore/|META-INF/(MANIFEST\.MF|LICENSE|NOTICE|[\w-]+-(LICENSE|NOTICE)|services/io\.magicstore\.)")


def test_everything_is_relocated():
    with zipfile.ZipFile(paths.SPARK_JAR) as jar:
        names = [name for name in jar.namelist() if not name.endswith("/")]
        strangers = [name for name in names if not OURS.match(name)]
        services = {name: jar.read(name).decode() for name in names if name.startswith("META-INF/services/")}
    assert not strangers, strangers[:20]
    assert "io/magicstore/spark/MagicCatalog.class" in names
    assert "io/magicstore/shaded/arrow/flight/FlightClient.class" in names
    assert "META-INF/NOTICE" in names and "META-INF/LICENSE" in names
    for name, lines in services.items():
        providers = [line for line in lines.splitlines() if line.strip() and not line.startswith("#")]
        assert all(line.startswith("io.magicstore.") for line in providers), (name, providers)
