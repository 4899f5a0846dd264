"""Paired comparisons: candidates, runs, statistics, local processes."""
