"""Tests of detection/base."""
