"""The panel in a real browser and JupyterLab, on real connections; what needs none is in tests/jupyter."""
