"""The contract: eight operations, their requests and responses, JSON both ways."""
