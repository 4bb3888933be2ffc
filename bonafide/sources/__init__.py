"""What fetch brings: tables in any format, base models, downloads, each pinned and checked."""
