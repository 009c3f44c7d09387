"""What stands under a cell or in a terminal."""
