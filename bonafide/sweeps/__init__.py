"""Many experiments side by side: grids, seeds, searches."""
