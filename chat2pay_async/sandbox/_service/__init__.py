"""The rules of the service, with no HTTP about them."""
