"""Tests of the skins for IPython and Jupyter."""
