"""The customers' mail servers, seen as a client: routes, pooled connections, transactions."""
