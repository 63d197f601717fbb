"""Short programs of other libraries that whole runs are compared with."""
