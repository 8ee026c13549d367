"""The hands: each backend knows the hub's seam, and nothing of the graph or of other backends."""
