"""Panel of Beijing's air: four series of days, each the same hour of every day, out of the file of hours next door.

python examples/beijing_panel/make_panel.py
"""

from __future__ import annotations

import csv
import lzma
from datetime import date
from pathlib import Path

HOURS = (0, 6, 12, 18)
COLUMNS = ("pm2.5", "TEMP", "DEWP", "PRES")
HERE = Path(__file__).parent
SOURCE = HERE.parent / "beijing_pm25" / "beijing_pm25_hourly.csv.xz"


def main() -> None:
    """Write the panel."""
    with lzma.open(SOURCE, "rt", encoding="utf-8", newline="") as source:
        rows = list(csv.DictReader(source))
    target = HERE / "beijing_panel_daily.csv.xz"
    with lzma.open(target, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("date", "series", "part_of_day", "hour", "month", "weekday", *COLUMNS))
        for hour in HOURS:
            part = "day" if hour in (12, 18) else "night"
            for row in rows:
                if int(row["hour"]) == hour:
                    day = date(*(int(row[unit]) for unit in ("year", "month", "day")))
                    cells = (row[column] for column in COLUMNS)
                    writer.writerow(
                        (day.isoformat(), f"at-{hour:02d}", part, hour, day.month, day.strftime("%a"), *cells)
                    )


if __name__ == "__main__":
    main()
