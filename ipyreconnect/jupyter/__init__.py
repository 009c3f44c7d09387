"""The skins for IPython and Jupyter: magics, terminal and panel. Imports nothing until it is asked for."""
