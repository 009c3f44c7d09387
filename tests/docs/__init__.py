"""The site: it is built without a warning, leads nowhere that is not there, and all its code runs."""
