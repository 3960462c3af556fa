"""The source in the cloud: the query API of Log Analytics."""
