"""Downloads, verifies, stores and announces data items."""
