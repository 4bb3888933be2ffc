"""Gradients and dropout by shards: the same bits wherever a shard is computed."""
