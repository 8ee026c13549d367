"""Eyes: what is to be seen of an executor.  It can be deleted whole, and tasks run as before."""
