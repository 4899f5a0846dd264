"""Tests of kilter.data."""
