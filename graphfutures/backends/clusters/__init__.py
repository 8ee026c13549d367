"""Clusters: one pump hands them pieces of the graph, whatever runs them there."""
