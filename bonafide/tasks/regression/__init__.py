"""Regression: a number from numbers and categories, by a linear model (house prices)."""
