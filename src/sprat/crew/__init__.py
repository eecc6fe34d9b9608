"""Others take part in a search: processes on this machine, or the nodes of a Dask cluster.

``distributed`` is imported when a crew is called together, and by nobody else.
"""
