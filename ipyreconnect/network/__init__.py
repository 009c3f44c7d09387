"""The network storey: the one I/O thread and all that touches the operating system."""
