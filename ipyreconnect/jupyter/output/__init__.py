"""What is shown of connections: under a cell, in a console, in a terminal, in a saved notebook."""
