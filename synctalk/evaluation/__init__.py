"""How good an avatar is: the metrics and protocols of the paper (section IV) and their report."""
